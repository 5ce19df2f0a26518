//! What the module promises, against a scripted model and database.

use flowweaver_task::{
    Error, Value, json,
    sql::Value as Sql,
    testing::{self, Reply, Sent, World},
};

use super::run;

const CHAT: &str = "https://api.openai.com/v1/chat/completions";
const EMBEDDINGS: &str = "https://api.openai.com/v1/embeddings";

fn product() -> Value {
    json!({
        "index": 1,
        "url": "https://mall.test/view.php?num_iid=1",
        "status": "success",
        "product_detail": {
            "title": "[라온홈] 경량 나일론 백팩 20L", "price": 23900, "rating": 4.7,
            "options": [{ "name": "블랙", "stock": 3 }, { "name": "네이비", "stock": 1 }],
            "material_info": { "재질": "나일론" }, "product_images": [],
        },
        "uploaded_images": (1..=6).map(|n| json!({ "s3_url": format!("https://s3.test/{n}.png") })).collect::<Vec<_>>(),
    })
}

fn answer(title: &str, content: &str) -> Reply {
    said(&json!({ "title": title, "content": content, "tags": ["여행", "#가방"] }).to_string())
}

fn said(content: &str) -> Reply {
    Reply::json(
        200,
        json!({
            "choices": [{ "index": 0, "message": { "role": "assistant", "content": content, "refusal": null }, "finish_reason": "stop" }],
            "usage": { "prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120 },
        }),
    )
}

fn compose(change: Value) -> Result<Value, Error> {
    let mut input = json!({ "keyword": "백팩", "product": product() });
    input
        .as_object_mut()
        .unwrap()
        .extend(change.as_object().unwrap().clone());
    testing::run(run, input)
}

/// What the model was asked last, as one text.
fn prompt(world: &World) -> String {
    let mut chats = world.requests().into_iter().filter(|sent| sent.url == CHAT);
    let sent: Value = chats.next_back().unwrap().json().unwrap();
    let messages = sent["messages"].as_array().unwrap().iter();
    messages
        .map(|message| message["content"].as_str().unwrap())
        .collect::<Vec<_>>()
        .join("\n")
}

fn ready() -> World {
    let world = World::new();
    world.when("POST", CHAT).reply(answer(
        "백팩 추천",
        "<p>하나</p><p>둘</p><p>셋</p><p>넷</p><p>다섯</p>",
    ));
    world
}

#[test]
fn a_denied_service_is_a_failure_and_never_an_article() {
    let _world = World::new();
    let error = compose(json!({})).unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.retryable),
        ("http.denied", false)
    );
}

#[test]
fn an_article_is_made_of_the_products_own_facts() {
    let world = ready();
    let output = compose(json!({})).unwrap();
    let prompt = prompt(&world);
    for fact in [
        "키워드: 백팩",
        "[1] 상품명: [라온홈] 경량 나일론 백팩 20L",
        "가격: 23,900원",
        "평점: 4.7",
        "옵션: 블랙, 네이비",
        "재질 나일론",
    ] {
        assert!(prompt.contains(fact), "{fact} in {prompt}");
    }
    assert_eq!(output["title"], "백팩 추천");
    assert_eq!(output["tags"], json!(["백팩", "여행", "가방"]));
    assert_eq!(output["written_by"], "model");
    assert_eq!(
        output["sources"][1],
        json!({ "id": 2, "kind": "product", "origin": "product_detail.price", "text": "가격: 23,900원" })
    );
    assert_eq!(output["usage"]["prompt_tokens"], 100);
    let sent: Value = world.requests()[0].json().unwrap();
    assert_eq!(sent["response_format"], json!({ "type": "json_object" }));
    assert!(world.requests()[0].header("authorization").is_none());
}

#[test]
fn up_to_four_pictures_of_the_product_are_placed() {
    let _world = ready();
    let content = compose(json!({})).unwrap()["content"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        content
            .matches("<figure><img src=\"https://s3.test/")
            .count(),
        4,
        "{content}"
    );
    assert!(
        content.contains("alt=\"[라온홈] 경량 나일론 백팩 20L 1\""),
        "{content}"
    );
    let content =
        compose(json!({ "uploaded_images": ["https://s3.test/only.png"] })).unwrap()["content"]
            .clone();
    assert_eq!(content.as_str().unwrap().matches("<img").count(), 1);
    let content = compose(json!({ "uploaded_images": [] })).unwrap()["content"].clone();
    assert!(!content.as_str().unwrap().contains("<img"));
}

#[test]
fn a_fact_in_one_of_two_hundred_rows_reaches_the_prompt_and_the_sources() {
    let world = ready();
    let mut rows: Vec<Vec<Sql>> = (0..200)
        .map(|number| {
            vec![
                Sql::Int64(number),
                Sql::Text(format!(
                    "프라이팬 {number}호는 백팩과 함께 주문하면 배송비가 없습니다."
                )),
            ]
        })
        .collect();
    rows.insert(
        150,
        vec![
            Sql::Int64(777),
            Sql::Text("라온홈 백팩의 나일론은 마모 시험 41,350회를 견뎠습니다.".into()),
        ],
    );
    world
        .database("blog")
        .when("select review_id, body from product_review order by review_id limit 500")
        .rows(&["review_id", "body"], rows);
    let knowledge = json!({ "database": "blog", "table": "product_review", "columns": ["body"], "id_column": "review_id", "limit": 500 });
    let output = compose(json!({ "knowledge": knowledge })).unwrap();
    assert!(prompt(&world).contains("41,350회"), "{}", prompt(&world));
    let sources = output["sources"].as_array().unwrap();
    let source = sources
        .iter()
        .find(|source| source["text"].as_str().unwrap().contains("41,350회"))
        .unwrap();
    assert_eq!(
        (&source["kind"], &source["origin"]),
        (&json!("knowledge"), &json!("blog.product_review, row 777"))
    );
}

#[test]
fn a_fact_in_one_of_two_hundred_lines_on_pictures_reaches_the_prompt() {
    let world = ready();
    let mut lines: Vec<String> = (0..200)
        .map(|number| format!("{number}번 매장은 연중무휴로 문을 엽니다"))
        .collect();
    lines.insert(93, "라온홈 백팩 지퍼는 YKK 정품".to_owned());
    compose(json!({ "translation_language": lines.join("\n") })).unwrap();
    assert!(prompt(&world).contains("YKK"), "{}", prompt(&world));
}

#[test]
fn a_query_of_ones_own_gets_its_values_as_parameters() {
    let world = ready();
    world
        .database("blog")
        .when("select body from note where topic = ?")
        .rows(
            &["body"],
            vec![vec![Sql::Text("백팩 끈은 폭이 7cm".into())]],
        );
    let knowledge = json!({ "database": "blog", "query": "select body from note where topic = ?", "parameters": ["'; drop table note--"] });
    compose(json!({ "knowledge": knowledge })).unwrap();
    assert_eq!(
        world.statements()[0].parameters,
        [Sql::Text("'; drop table note--".into())]
    );
    assert!(prompt(&world).contains("폭이 7cm"));
}

#[test]
fn a_table_name_that_is_more_than_a_name_is_refused_and_a_denied_table_fails_the_task() {
    let world = ready();
    world.database("blog");
    let with = |table: &str| {
        compose(json!({ "knowledge": { "database": "blog", "table": table } }))
            .unwrap_err()
            .code
    };
    assert_eq!(with("note; drop table note"), "input.invalid");
    assert_eq!(with("secret_table"), "sql.denied");
    assert!(world.requests().is_empty());
}

#[test]
fn embeddings_rank_when_asked_for_and_their_failure_is_a_failure() {
    let world = ready();
    // Texts with 방수 lie at the query's side, all others across.
    world.when("POST", EMBEDDINGS).answer(|sent: &Sent| {
        let asked: Value = sent.json().unwrap();
        let data: Vec<Value> = (0..)
            .zip(asked["input"].as_array().unwrap())
            .map(|(index, text)| {
                let near = text.as_str().unwrap().contains("방수")
                    || text.as_str().unwrap().starts_with("백팩 [라온홈]");
                json!({ "index": index, "embedding": if near { [1.0, 0.1] } else { [-0.2, 1.0] } })
            })
            .collect();
        Reply::json(200, json!({ "data": data }))
    });
    let lines: Vec<String> = (0..200)
        .map(|number| format!("{number}번째 줄입니다."))
        .chain(["완전 방수입니다.".to_owned()])
        .collect();
    let change = json!({ "retrieval": "embedding", "translation_language": lines.join("\n"), "chunk_letters": 12, "top_k": 2 });
    compose(change.clone()).unwrap();
    assert!(prompt(&world).contains("완전 방수"), "{}", prompt(&world));
    assert_eq!(
        world
            .requests()
            .iter()
            .filter(|sent| sent.url == EMBEDDINGS)
            .count(),
        2
    );
    world
        .when("POST", EMBEDDINGS)
        .reply(Reply::json(200, json!({ "data": [] })));
    assert_eq!(compose(change).unwrap_err().code, "llm.invalid");
}

#[test]
fn an_api_failure_is_a_failure_with_its_detail() {
    for (reply, code, retryable) in [
        (Reply::text(503, "overloaded"), "http.status", true),
        (
            Reply::json(401, json!({ "error": { "message": "Incorrect API key" } })),
            "http.status",
            false,
        ),
        (
            Reply::json(200, json!({ "error": { "message": "quota" } })),
            "llm.invalid",
            true,
        ),
        (
            Reply::json(200, json!({ "choices": [] })),
            "llm.invalid",
            true,
        ),
        (
            Reply::json(
                200,
                json!({ "choices": [{ "message": { "content": null }, "finish_reason": "stop" }] }),
            ),
            "llm.invalid",
            true,
        ),
        (
            Reply::json(
                200,
                json!({ "choices": [{ "message": { "content": "{" }, "finish_reason": "length" }] }),
            ),
            "llm.truncated",
            true,
        ),
        (
            Reply::json(
                200,
                json!({ "choices": [{ "message": { "refusal": "no" }, "finish_reason": "stop" }] }),
            ),
            "llm.refused",
            false,
        ),
        (said("죄송합니다"), "article.invalid", true),
        (answer("가방 추천", "<p>글</p>"), "article.title", true),
        (
            answer("백팩 추천", "<script>x</script>"),
            "article.content",
            true,
        ),
    ] {
        let world = World::new();
        world.when("POST", CHAT).reply(reply);
        let error = compose(json!({})).unwrap_err();
        assert_eq!(
            (error.code.as_str(), error.retryable),
            (code, retryable),
            "{error}"
        );
    }
}

#[test]
fn a_title_without_the_keyword_is_asked_for_once_more() {
    let world = World::new();
    world
        .when("POST", CHAT)
        .reply(answer("가방 추천", "<p>글</p>"))
        .reply(answer("백팩 추천", "<p>글</p>"));
    let output = compose(json!({})).unwrap();
    assert_eq!(output["title"], "백팩 추천");
    assert_eq!(output["usage"]["completion_tokens"], 40);
    assert!(
        prompt(&world).contains("does not hold the keyword"),
        "{}",
        prompt(&world)
    );
}

#[test]
fn what_a_model_that_does_not_obey_writes_is_cleaned() {
    let world = World::new();
    world.when("POST", CHAT).reply(answer(
        "<b>백팩</b> 추천",
        "<p onclick=x>글</p><script>alert(1)</script><img src=https://evil.test/x.png onerror=x><a href=\"https://evil.test\">여기</a>",
    ));
    let output = compose(json!({})).unwrap();
    let content = output["content"].as_str().unwrap();
    for bad in ["script", "onclick", "onerror", "evil"] {
        assert!(!content.contains(bad), "{bad} in {content}");
    }
    assert_eq!(output["title"], "백팩 추천");
}

#[test]
fn the_template_is_used_only_when_the_input_says_so_and_says_so_itself() {
    let world = World::new();
    world
        .when("POST", CHAT)
        .reply(Reply::text(503, "overloaded"));
    let output =
        compose(json!({ "fallback": "template", "translation_language": "방수 <원단>" })).unwrap();
    assert_eq!(output["written_by"], "template");
    assert!(output["fallback_reason"].as_str().unwrap().contains("503"));
    assert!(output["title"].as_str().unwrap().contains("백팩"));
    let content = output["content"].as_str().unwrap();
    assert!(
        content.contains("<li>가격: 23,900원</li>") && content.contains("방수 &lt;원단&gt;"),
        "{content}"
    );
    assert_eq!(content.matches("<img").count(), 4);
    let output = compose(
        json!({ "fallback": "template", "retrieval": "embedding", "translation_language": "방수" }),
    )
    .unwrap();
    assert!(
        output["fallback_reason"]
            .as_str()
            .unwrap()
            .starts_with("http.denied")
    );
}

#[test]
fn nothing_to_write_about_is_refused_before_anything_is_asked() {
    let world = ready();
    for change in [
        json!({ "keyword": " " }),
        json!({ "product": { "product_detail": null } }),
        json!({ "tone": "x" }),
        json!({ "top_k": 101 }),
        json!({ "chunk_letters": 5 }),
    ] {
        assert_eq!(compose(change).unwrap_err().code, "input.invalid");
    }
    assert!(world.requests().is_empty());
}

#[test]
fn the_description_names_the_defaults() {
    let described: Value = flowweaver_task::serde_json::from_str(&run::describe()).unwrap();
    assert_eq!(described["requires"], json!(["http"]));
    assert_eq!(
        described["input"]["required"],
        json!(["keyword", "product"])
    );
    assert_eq!(described["defaults"]["fallback"], "none");
    assert_eq!(described["defaults"]["retrieval"], "bm25");
    assert_eq!(described["defaults"]["llm_url"], "https://api.openai.com");
}
