//! An OpenAI-compatible API: chat completions and embeddings. A body that is not what was asked for is a failure,
//! whatever its status. What an answer must say is in `draft`.

use std::num::NonZeroU32;
use std::time::Duration;

use flowweaver_task::http;
use flowweaver_task::serde_json::{self, Value};
use flowweaver_task::{Error, Result, json};

/// Texts in one call for embeddings: far below the service's 2,048, so that an answer stays a few megabytes.
const BATCH: usize = 128;

/// The service and what is asked of it.
pub(crate) struct Model<'a> {
    /// Its address, without a slash at its end.
    pub(crate) url: &'a str,
    pub(crate) writer: &'a str,
    pub(crate) embedder: &'a str,
    pub(crate) temperature: Option<f64>,
    pub(crate) max_tokens: Option<NonZeroU32>,
    pub(crate) timeout: Duration,
}

/// What the model said.
pub(crate) struct Answer {
    pub(crate) text: String,
    pub(crate) usage: Option<Usage>,
}

/// What the model charged, in tokens.
#[derive(Clone, Copy, Debug, serde::Deserialize, serde::Serialize, schemars::JsonSchema)]
pub(crate) struct Usage {
    /// Tokens of the question.
    #[serde(default)]
    prompt_tokens: u64,
    /// Tokens of the answer.
    #[serde(default)]
    completion_tokens: u64,
}

impl Usage {
    pub(crate) fn sum(first: Option<Self>, second: Option<Self>) -> Option<Self> {
        let (first, second) = (first?, second?);
        Some(Usage {
            prompt_tokens: first.prompt_tokens + second.prompt_tokens,
            completion_tokens: first.completion_tokens + second.completion_tokens,
        })
    }
}

#[derive(serde::Deserialize)]
struct Embeddings {
    data: Vec<Embedding>,
}

#[derive(serde::Deserialize)]
struct Embedding {
    index: usize,
    embedding: Vec<f32>,
}

impl Model<'_> {
    /// One completion.
    ///
    /// # Errors
    /// What the service answers; `llm.invalid` for a body without an answer, `llm.truncated` for one that was cut off,
    /// `llm.refused` for one that the model or its filter refused.
    pub(crate) fn write(&self, messages: &[Value]) -> Result<Answer> {
        let mut body = json!({
            "model": self.writer, "messages": messages, "response_format": { "type": "json_object" },
        });
        if let Some(body) = body.as_object_mut() {
            body.extend(
                self.temperature
                    .map(|value| ("temperature".to_owned(), json!(value))),
            );
            body.extend(
                self.max_tokens
                    .map(|value| ("max_completion_tokens".to_owned(), json!(value))),
            );
        }
        let reply: Value = self.ask("chat/completions", &body)?;
        let Some(choice) = reply.pointer("/choices/0") else {
            return Err(Error::retryable(
                "llm.invalid",
                format!("the answer holds no choice: {}", excerpt(&reply)),
            ));
        };
        let refusal = choice.pointer("/message/refusal").and_then(Value::as_str);
        match (choice.get("finish_reason").and_then(Value::as_str), refusal) {
            (_, Some(refusal)) => {
                return Err(Error::permanent(
                    "llm.refused",
                    format!("the model refused: {refusal}"),
                ));
            }
            (Some("content_filter"), _) => {
                return Err(Error::permanent(
                    "llm.refused",
                    "the service's filter withheld the answer",
                ));
            }
            (Some("length"), _) => {
                let message =
                    "the answer was cut off; `max_tokens` or the model's own limit is too small";
                return Err(Error::retryable("llm.truncated", message));
            }
            _ => {}
        }
        let text = choice
            .pointer("/message/content")
            .and_then(Value::as_str)
            .map(str::trim)
            .unwrap_or_default();
        if text.is_empty() {
            return Err(Error::retryable(
                "llm.invalid",
                format!("the answer is empty: {}", excerpt(&reply)),
            ));
        }
        let usage = reply
            .get("usage")
            .cloned()
            .and_then(|usage| serde_json::from_value(usage).ok());
        Ok(Answer {
            text: text.to_owned(),
            usage,
        })
    }

    /// The texts' vectors, in their order.
    ///
    /// # Errors
    /// What the service answers; `llm.invalid` if it is not one vector for each text.
    pub(crate) fn embed(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        let mut vectors = Vec::with_capacity(texts.len());
        for batch in texts.chunks(BATCH) {
            let body =
                json!({ "model": self.embedder, "input": batch, "encoding_format": "float" });
            let mut data = self.ask::<Embeddings>("embeddings", &body)?.data;
            data.sort_by_key(|embedding| embedding.index);
            let complete = data.len() == batch.len()
                && data.iter().enumerate().all(|(at, one)| one.index == at);
            if !complete {
                let message = format!(
                    "asked for {} embeddings, the service answered {}",
                    batch.len(),
                    data.len()
                );
                return Err(Error::retryable("llm.invalid", message));
            }
            vectors.extend(data.into_iter().map(|one| one.embedding));
        }
        let length = vectors.first().map_or(0, Vec::len);
        if vectors
            .iter()
            .any(|vector| vector.is_empty() || vector.len() != length)
        {
            return Err(Error::retryable(
                "llm.invalid",
                "the embeddings are not of one length",
            ));
        }
        Ok(vectors)
    }

    fn ask<T: serde::de::DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T> {
        let doing = format!("asking the model ({path})");
        let sent = http::post(format!("{}/v1/{path}", self.url))
            .json(body)
            .timeout(self.timeout)
            .send();
        let reply: Value = sent
            .and_then(|response| response.error_for_status()?.json())
            .map_err(|error| error.context(&doing))?;
        if let Some(error) = reply.get("error").filter(|error| !error.is_null()) {
            let message = format!(
                "{doing}: the service answered an error in a success: {}",
                excerpt(error)
            );
            return Err(Error::retryable("llm.invalid", message));
        }
        serde_json::from_value(reply)
            .map_err(|error| Error::retryable("llm.invalid", format!("{doing}: {error}")))
    }
}

/// Enough of a strange answer to recognise it, too little to flood a log.
fn excerpt(value: &Value) -> String {
    value.to_string().chars().take(300).collect()
}
