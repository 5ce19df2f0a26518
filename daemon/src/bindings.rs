//! Host traits and guest calls generated from `wit/`, alone in one module.
//!
//! Nothing here decides anything: the traits are implemented on `broker::BrokerView`, the exports are
//! called by `sandbox`. It names the brokers' resource types, so it counts as level 2.

/// Generated code: functions that may wait are `async`, every function may trap, and an `error` of
/// the contract travels as [`crate::broker::error::CallError`], so that no result is nested.
#[allow(missing_docs, reason = "generated from documented WIT")]
mod generated {
    wasmtime::component::bindgen!({
        path: "../wit",
        world: "task-full",
        imports: {
            "flowweaver:http/client.[method]exchange.response": async | trappable,
            "flowweaver:http/client.[method]exchange.write-body": async | trappable,
            "flowweaver:http/client.[method]response.read": async | trappable,
            "flowweaver:http/client.start": async | trappable,
            "flowweaver:http/client.send": async | trappable,
            "flowweaver:sql/client.[static]database.open": async | trappable,
            "flowweaver:sql/client.[method]database.query": async | trappable,
            "flowweaver:sql/client.[method]database.execute": async | trappable,
            "flowweaver:sql/client.[method]database.execute-batch": async | trappable,
            "flowweaver:sql/client.[method]database.begin": async | trappable,
            "flowweaver:sql/client.[method]transaction.query": async | trappable,
            "flowweaver:sql/client.[method]transaction.execute": async | trappable,
            "flowweaver:sql/client.[method]transaction.execute-batch": async | trappable,
            "flowweaver:sql/client.[static]transaction.commit": async | trappable,
            "flowweaver:sql/client.[static]transaction.rollback": async | trappable,
            "flowweaver:sql/client.[drop]transaction": async | trappable,
            "flowweaver:sql/client.[method]rows.next": async | trappable,
            "flowweaver:sql/client.[drop]rows": async | trappable,
            "flowweaver:kv": async | trappable,
            default: trappable,
        },
        exports: { default: async },
        additional_derives: [PartialEq],
        trappable_error_type: {
            "flowweaver:types/types.error" => crate::broker::error::CallError,
        },
        with: {
            "flowweaver:http/client.request": crate::broker::http::HttpRequest,
            "flowweaver:http/client.exchange": crate::broker::http::HttpExchange,
            "flowweaver:http/client.response": crate::broker::http::HttpResponse,
            "flowweaver:sql/client.database": crate::broker::sql::SqlDatabase,
            "flowweaver:sql/client.transaction": crate::broker::sql::SqlTransaction,
            "flowweaver:sql/client.rows": crate::broker::sql::SqlRows,
        },
    });
}

pub use generated::flowweaver::{context, http, kv, log, sql, types};
pub use generated::{TaskFull, TaskFullPre};
