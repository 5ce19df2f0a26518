//! A task as its author and the operator wrote it down, and what becomes of it when the lines that a denial prints are put
//! into their files as they are.

use std::collections::BTreeMap;

use flowweaver::broker::error::Refusal;
use flowweaver::broker::settings::BrokerSettings;
use flowweaver::broker::sql::DatabaseSettings;
use flowweaver::diagnostic::render;
use flowweaver::id::Digest;
use flowweaver::workflow::environment::{DatabaseFacts, Environment, ModuleFacts, NameCase};
use flowweaver::workflow::grant::{Grants, SqlMode};
use flowweaver::workflow::{WorkflowSource, compile};
use secrecy::ExposeSecret as _;
use serde_json::json;

use crate::broker_world::*;

/// One database, and the grants of one task.
pub struct Written {
    pub settings: DatabaseSettings,
    pub grants: String,
}

impl Written {
    /// A grant of these tables.
    pub fn new(settings: DatabaseSettings, mode: &str, tables: &str) -> Self {
        let grants = format!(
            "[[job.task.sql]]\ndatabase = \"{}\"\nmode = \"{mode}\"\ntables = {tables}",
            settings.name
        );
        Self { settings, grants }
    }

    /// An attempt of the task. The operator may have closed what its file was compiled with.
    pub fn attempt(&self) -> Attempt {
        let facts = DatabaseFacts {
            mode: SqlMode::ReadWrite,
            tables: None,
            case: self.case(),
        };
        let grants = self.compiled(facts).unwrap();
        let settings = BrokerSettings {
            databases: vec![self.settings.clone()],
            ..BrokerSettings::default()
        };
        attempt_of(&broker(settings, &[]), identity(), grants)
    }

    /// The grants as `flowweaver check` reads them, with what the operator allows.
    pub fn checked(&self) -> Result<Grants, String> {
        self.compiled(DatabaseFacts {
            mode: self.settings.mode,
            tables: self.settings.tables.clone(),
            case: self.case(),
        })
    }

    fn case(&self) -> NameCase {
        match self.settings.url.expose_secret().split_once("://") {
            Some(("postgres", _)) => NameCase::Quoted,
            Some(_) => NameCase::Counts,
            None => NameCase::Ignored,
        }
    }

    fn compiled(&self, facts: DatabaseFacts) -> Result<Grants, String> {
        let module = json!({ "digest": Digest::of(b"sell"), "description": { "name": "sell", "version": "1.0.0" } });
        let module: ModuleFacts = serde_json::from_value(module).unwrap();
        let environment = Environment {
            modules: BTreeMap::from([("sell".parse().unwrap(), module)]),
            databases: Some(BTreeMap::from([(self.settings.name.clone(), facts)])),
            ..Environment::default()
        };
        let file = format!(
            "flowweaver = 1\nname = \"shop\"\n\n[[job]]\nname = \"only\"\n\n[[job.task]]\nname = \"sell\"\nuses = \"sell\"\n\n{}\n",
            self.grants
        );
        let compiled = compile(&WorkflowSource::new("flows/shop.toml", file), &environment);
        match compiled.workflow {
            Some(workflow) => Ok((*workflow.tasks[0].grants).clone()),
            None => Err(render(&compiled.diagnostics)),
        }
    }

    /// The same with the lines of this denial in the files that it names; `flowweaver check` takes them.
    #[track_caller]
    pub fn pasted(&self, refusal: &Refusal) -> Self {
        assert_eq!(refusal.code, "sql.denied", "{refusal}");
        let (_, cure) = refusal.message.split_once(". To allow it, ").unwrap();
        let mut settings = self.settings.clone();
        let mut grants = Some(cure);
        let place = format!(
            "write in flowweaver.toml, under [databases.{}]:\n",
            settings.name
        );
        if let Some(cure) = cure.strip_prefix(&place) {
            let (operator, rest) = match cure.split_once("\nand in the place of the grant") {
                Some((operator, rest)) => (operator, Some(rest)),
                None => (cure, None),
            };
            let lines: toml::Table = operator.parse().unwrap();
            for (key, value) in lines {
                match key.as_str() {
                    "mode" => {
                        assert_eq!(value.as_str(), Some("read-write"));
                        settings.mode = SqlMode::ReadWrite;
                    }
                    "tables" => settings.tables = Some(value.try_into().unwrap()),
                    other => panic!("{other}"),
                }
            }
            grants = rest;
        }
        let grants = grants.map(|rest| rest.split_once(":\n").unwrap().1.to_owned());
        let pasted = Self {
            settings,
            grants: grants.unwrap_or_else(|| self.grants.clone()),
        };
        if let Err(wrong) = pasted.checked() {
            panic!("{refusal}\n{wrong}");
        }
        pasted
    }
}

/// Says that no line helps, and prints none.
#[track_caller]
pub fn teaches_no_line(refusal: &Refusal, told: &str) {
    assert_eq!(refusal.code, "sql.denied", "{refusal}");
    assert!(refusal.message.contains(told), "{refusal}");
    assert!(!refusal.message.contains("To allow it"), "{refusal}");
    assert!(!refusal.message.contains("[[job.task.sql]]"), "{refusal}");
}
