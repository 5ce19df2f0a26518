//! Ends that nobody asked for: the server's own, and a guest's in the middle of a beginning.

use std::time::{Duration, Instant};

use tokio::net::TcpListener;

use super::world::*;
use crate::broker::sql::Value;
use crate::broker::sql::database::{Databases, Target};
use crate::broker::sql::own::Own;

#[tokio::test]
async fn nothing_of_a_transaction_that_lost_a_deadlock_becomes_durable() {
    on_mariadb(|world| async move {
        let made =
            "create table t (id bigint primary key, v bigint); insert into t values (1, 0), (2, 0)";
        world.raw.run(made).await;
        let (one, two) = (
            world.session(true, true).await.unwrap(),
            world.session(true, true).await.unwrap(),
        );
        let set = "update t set v = v + 1 where id = ?";
        let id = |number: i64| [Value::Int64(number)];
        assert_eq!(one.execute(set, &id(1)).await, Ok(1));
        assert_eq!(two.execute(set, &id(2)).await, Ok(1));
        let (first, second) = (id(2), id(1));
        let (a, b) = tokio::join!(one.execute(set, &first), two.execute(set, &second));
        let (lost, loser, winner) = match (a, b) {
            (Err(lost), Ok(1)) => (lost, one, two),
            (Ok(1), Err(lost)) => (lost, two, one),
            other => panic!("no deadlock: {other:?}"),
        };
        assert_eq!((lost.code.as_str(), lost.retryable), ("sql.40001", true));
        let refusal = loser.execute("insert into t values (9, 9)", &[]).await;
        let refusal = refusal.unwrap_err();
        assert_eq!(
            (refusal.code.as_str(), refusal.retryable),
            ("sql.40001", true)
        );
        let refusal = loser.query("select v from t", &[]).await.unwrap_err();
        assert_eq!(refusal.code, "sql.40001");
        assert_eq!(loser.commit().await.unwrap_err().code, "sql.40001");
        assert_eq!(winner.commit().await, Ok(()));
        assert_eq!(
            world
                .raw
                .number("select count(*) from t where id = 9")
                .await,
            0
        );
        assert_eq!(
            world.raw.number("select count(*) from t where v = 1").await,
            2
        );
    })
    .await;
}

#[tokio::test]
async fn a_session_given_up_while_it_begins_leaves_no_transaction_in_the_pool() {
    on_postgres(|world| async move {
        assert!(world.query("select 1", &[]).await.is_ok());
        // Given up at ever later moments, so at some of them between `begin` and its answer.
        for moment in 0..300 {
            let line = world.start(true, true);
            for _ in 0..moment {
                tokio::task::yield_now().await;
            }
            drop(line);
            world.raw.working(0).await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_store_is_known_to_a_role_that_may_not_read_the_servers_control_data() {
    on_postgres(|world| async move {
        let mut url = url::Url::parse(&world.url).unwrap();
        let role = format!("{}_role", &url.path()[1..]);
        let made = format!(
            "create role {role} login; revoke execute on function pg_control_system() from public"
        );
        world.raw.run(&made).await;
        url.set_username(&role).unwrap();
        // Behind another port of the same machine: only the server can tell.
        let to = format!("{}:{}", url.host_str().unwrap(), url.port().unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        url.set_port(Some(port)).unwrap();
        let relay = tokio::spawn(async move {
            while let Ok((mut here, _)) = listener.accept().await {
                let mut there = tokio::net::TcpStream::connect(&to).await.unwrap();
                tokio::spawn(async move {
                    let _ = tokio::io::copy_bidirectional(&mut here, &mut there).await;
                });
            }
        });
        let own = Own {
            files: Vec::new(),
            url: Some(world.url.clone().into()),
        };
        let hidden = World {
            target: Target::new(&settings(url.as_str()), &own).unwrap(),
            ..world.clone()
        };
        let told = hidden.query("select 1", &[]).await;
        relay.abort();
        world.raw.run(&format!("drop role {role}")).await;
        assert_eq!(told.unwrap_err().code, "sql.denied");
    })
    .await;
}

#[tokio::test]
async fn a_server_that_does_not_answer_holds_up_the_start_shortly() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    for scheme in ["postgres", "mariadb"] {
        let silent = settings(&format!("{scheme}://somebody@127.0.0.1:{port}/blog"));
        let databases = Databases::new(vec![silent], Own::default()).unwrap();
        let began = Instant::now();
        assert!(databases.are_strange().await.is_ok());
        assert!(
            began.elapsed() < Duration::from_secs(3),
            "{:?}",
            began.elapsed()
        );
    }
}
