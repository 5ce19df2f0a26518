//! How the types of either server are tried: in through a parameter, out through a row, or refused as they are.

use super::world::*;
use crate::broker::sql::Value;

/// A type, what goes in, what comes out.
pub type Case = (&'static str, Value, Value);

pub fn decimal(text: &str) -> Value {
    Value::Decimal(text.to_owned())
}

pub fn time(text: &str) -> Value {
    Value::Timestamp(text.to_owned())
}

/// What comes out as it went in.
pub fn same(kind: &'static str, value: Value) -> Case {
    (kind, value.clone(), value)
}

/// Nothing fits everywhere.
pub fn nothing(kinds: &[&'static str]) -> impl Iterator<Item = Case> {
    kinds.iter().map(|kind| same(kind, Value::Null))
}

/// Each case in a table `t0`, `t1`, … of its own. What `is_found` of types says is looked for as a condition too: a value
/// that is there is found.
pub async fn each_comes_back(world: &World, cases: Vec<Case>, is_found: fn(&str) -> bool) {
    let hole = world.hole(1);
    for (number, (kind, sent, wanted)) in cases.into_iter().enumerate() {
        let made = format!("create table t{number} (v {kind})");
        world.raw.run(&made).await;
        let insert = format!("insert into t{number} (v) values ({hole})");
        let written = world.execute(&insert, std::slice::from_ref(&sent)).await;
        assert_eq!(written, Ok(1), "{kind} takes {sent:?}");
        let select = format!("select v from t{number}");
        let rows = world.query(&select, &[]).await.unwrap();
        assert_eq!(rows, [[wanted.clone()]], "{kind} gives back {sent:?}");
        if is_found(kind) && wanted != Value::Null {
            let found = format!("select count(*) from t{number} where v = {hole}");
            let rows = world.query(&found, std::slice::from_ref(&sent)).await;
            let one = Ok(vec![vec![Value::Int64(1)]]);
            assert_eq!(rows, one, "{kind} finds {sent:?}");
        }
    }
}

/// Each value is refused by its column of `t` with the code, and nothing of it is there.
pub async fn each_is_refused(world: &World, cases: &[(&str, Value, &str)]) {
    for (column, value, code) in cases {
        let insert = format!("insert into t ({column}) values ({})", world.hole(1));
        let written = world.execute(&insert, std::slice::from_ref(value)).await;
        let refusal = written.unwrap_err();
        assert_eq!(refusal.code, *code, "{column} {value:?}: {refusal}");
    }
    assert_eq!(world.raw.number("select count(*) from t").await, 0);
}
