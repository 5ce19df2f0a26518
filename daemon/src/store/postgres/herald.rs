//! News between daemons over LISTEN and NOTIFY: one connection that listens, and a task that tells.
//!
//! What is told during one message goes into the next, and a daemon that is alone tells nothing. A connection
//! that was lost is made again, and then everything counts as news. Servers that speak PostgreSQL's protocol
//! without LISTEN are asked again now and then; until they know it everybody polls.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::postgres::{PgConnectOptions, PgListener, PgPool, PgPoolOptions};
use tokio::sync::{Notify, broadcast};
use tokio::task::JoinHandle;

use super::dialect::NOW;
use crate::clock::{Clock as _, SystemClock};
use crate::id::Digest;
use crate::store::news::News;

/// News that a slow hearer may fall behind before it is told that it missed some.
const KEPT: usize = 256;
/// Between two messages, so that a busy daemon tells at most some hundred times a second.
const PAUSE: Duration = Duration::from_millis(5);
/// How long is believed whether others live: they look for themselves when they start.
const BELIEVED: Duration = Duration::from_secs(1);
/// Before a lost connection is made again; and at most, where the server has no LISTEN.
const RETRY: Duration = Duration::from_millis(200);
const RETRY_MAX: Duration = Duration::from_secs(30);

/// Sends messages. Their commit waits for no disk: they are hints, and would flush the log each time.
const TELL: &str = "select set_config('synchronous_commit', 'off', true), pg_notify($1, \"t\".\"text\") \
    from unnest($2::text[]) as \"t\"(\"text\")";

/// How many daemons live at $1.
const LIVING: &str = r#"
select count(*) from "daemon" where "gone_at" is null and "seen_at" + "lease_us" >= $1"#;

/// The way out and in; it ends with its tasks when it is dropped.
#[derive(Debug)]
pub(super) struct Herald {
    outbox: Arc<Outbox>,
    heard: broadcast::Sender<News>,
    tasks: [JoinHandle<()>; 2],
}

#[derive(Debug, Default)]
struct Outbox {
    waiting: Mutex<Waiting>,
    more: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    news: News,
    /// Until then it is believed that nobody listens.
    alone_until: Option<Instant>,
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Herald {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Herald {
    /// Starts both tasks on the current runtime. The channel is the schema's: stores in one database do not
    /// hear each other.
    pub(super) fn start(options: PgConnectOptions, pool: PgPool, schema: &str) -> Self {
        let channel = format!("flowweaver_{}", Digest::of(schema.as_bytes()).short());
        // Who hears himself would look for what he has written.
        let me = format!("{:016x}", rand::random::<u64>());
        let heard = broadcast::Sender::new(KEPT);
        let outbox = Arc::new(Outbox::default());
        let ear = PgPoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_lazy_with(options);
        let tasks = [
            tokio::spawn(listen(ear, channel.clone(), me.clone(), heard.clone())),
            tokio::spawn(tell(Arc::clone(&outbox), pool, channel, me)),
        ];
        Self {
            outbox,
            heard,
            tasks,
        }
    }

    /// Tells the others, soon, if there are any.
    pub(super) fn tell(&self, news: impl FnOnce() -> News) {
        let mut waiting = self.outbox.lock();
        if waiting
            .alone_until
            .is_some_and(|until| Instant::now() < until)
        {
            return;
        }
        waiting.news.add(news());
        drop(waiting);
        self.outbox.more.notify_one();
    }

    /// What the others tell from now on.
    pub(super) fn heard(&self) -> broadcast::Receiver<News> {
        self.heard.subscribe()
    }
}

async fn listen(pool: PgPool, channel: String, me: String, heard: broadcast::Sender<News>) {
    let mut wait = RETRY;
    loop {
        match PgListener::connect_with(&pool).await {
            Ok(mut listener) => match listener.listen(&channel).await {
                Ok(()) => {
                    wait = RETRY;
                    tracing::debug!(%channel, "listening for news of other daemons");
                    follow(listener, &me, &heard).await;
                }
                Err(error) => {
                    tracing::info!(%error, "no news of other daemons; they are found by looking");
                }
            },
            Err(error) => tracing::debug!(%error, "the store's news cannot be heard now"),
        }
        SystemClock.pass(wait).await;
        wait = (wait * 2).min(RETRY_MAX);
    }
}

/// Hands on what is heard until the connection is lost.
async fn follow(mut listener: PgListener, me: &str, heard: &broadcast::Sender<News>) {
    listener.eager_reconnect(false);
    // What was told before is not heard any more. Whether anybody hears this is his business.
    let _ = heard.send(News::everything());
    while let Ok(Some(message)) = listener.try_recv().await {
        let Some((from, text)) = message.payload().split_once(' ') else {
            continue;
        };
        // A daemon of another version may say what is not understood here.
        if let (true, Ok(news)) = (from != me, serde_json::from_str(text)) {
            let _ = heard.send(news);
        }
    }
}

async fn tell(outbox: Arc<Outbox>, pool: PgPool, channel: String, me: String) {
    let mut seen: Option<Instant> = None;
    loop {
        outbox.more.notified().await;
        if seen.is_none_or(|seen| seen.elapsed() > BELIEVED) {
            if !others_live(&pool).await {
                let mut waiting = outbox.lock();
                waiting.news = News::default();
                waiting.alone_until = Some(Instant::now() + BELIEVED);
                continue;
            }
            seen = Some(Instant::now());
        }
        let news = std::mem::take(&mut outbox.lock().news);
        if let Err(error) = send(&pool, &channel, &me, news).await {
            // Everybody looks for himself soon.
            tracing::debug!(%error, "news were not told");
        }
        SystemClock.pass(PAUSE).await;
    }
}

/// Whether there is anybody to tell; where that cannot be known, yes.
async fn others_live(pool: &PgPool) -> bool {
    let living = async {
        let now: i64 = sqlx::query_scalar(NOW).fetch_one(pool).await?;
        sqlx::query_scalar::<_, i64>(LIVING)
            .bind(now)
            .fetch_one(pool)
            .await
    };
    living.await.map_or(true, |living| living > 1)
}

async fn send(pool: &PgPool, channel: &str, me: &str, news: News) -> Result<(), sqlx::Error> {
    let mut messages = Vec::new();
    for piece in news.pieces() {
        let text = serde_json::to_string(&piece).map_err(|e| sqlx::Error::Encode(e.into()))?;
        messages.push(format!("{me} {text}"));
    }
    sqlx::query(TELL)
        .bind(channel)
        .bind(messages)
        .execute(pool)
        .await
        .map(|_| ())
}
