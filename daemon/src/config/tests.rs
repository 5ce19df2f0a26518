//! What the settings promise.

use super::*;
use crate::diagnostic::Severity;
use sections::LogFormat;

/// The settings of a text.
fn parse(
    path: &Path,
    text: &str,
    profile: Profile,
    environment: &BTreeMap<String, String>,
) -> Result<Settings, ConfigError> {
    super::parse(path, text, profile, environment).map(|(settings, _)| settings)
}

/// The remarks about a file as (line, message, help), and the sentences about variables.
fn remarks(text: &str, pairs: &[(&str, &str)]) -> (Vec<(usize, String, String)>, Vec<String>) {
    let refused = parse(Path::new("f"), text, Profile::Plain, &environment(pairs));
    let Err(ConfigError::Invalid { file, variables }) = refused else {
        panic!("{text} is taken");
    };
    let file = file.into_iter().map(|remark| {
        assert_eq!(remark.severity, Severity::Error);
        let (line, _) = remark.line_column();
        (line, remark.message, remark.help.unwrap_or_default())
    });
    (file.collect(), variables)
}

fn environment(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn an_unknown_key_is_refused_with_its_place() {
    let text = "[limits]\ntimeout = \"5m\"\ntimeuot = \"5m\"\n";
    let error = parse(
        Path::new("flowweaver.toml"),
        text,
        Profile::Plain,
        &BTreeMap::new(),
    )
    .unwrap_err()
    .to_string();
    assert!(
        error.contains("flowweaver.toml:3:1") && error.contains("timeuot"),
        "{error}"
    );
}

#[test]
fn a_wrong_value_in_the_environment_is_refused_by_the_variables_name() {
    let env = environment(&[("FLOWWEAVER_LIMITS_TIMEOUT", "soon")]);
    let error = parse(Path::new("f"), "", Profile::Plain, &env)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("FLOWWEAVER_LIMITS_TIMEOUT: [limits] timeout = soon is not a duration"),
        "{error}"
    );
}

#[test]
fn a_lease_is_neither_shorter_than_a_slow_disk_nor_longer_than_anybody_waits() {
    let file = |lease: &str| format!("[engine]\nlease = \"{lease}\"\n");
    for lease in ["999ms", "11m", "0s"] {
        let (found, _) = remarks(&file(lease), &[]);
        let told = "is not a duration from \"1s\" to \"10m\"";
        assert!(found[0].1.contains(told), "{found:?}");
    }
    for lease in ["1s", "30s", "10m"] {
        let taken = parse(
            Path::new("f"),
            &file(lease),
            Profile::Plain,
            &environment(&[]),
        );
        assert_eq!(taken.unwrap().engine.lease, lease.parse().unwrap());
    }
}

/// A file with a mistake of each kind.
const MISTAKES: &str = "\
[limts]
timeout = \"5m\"
[limits]
timeout = 30
default_timeuot = \"5m\"
memory = \"64 mb\"
max_parallel = 0
cpu = \"0s\"
sql_concurrent = 99999999999
[store]
durability = \"ful\"
[engine]
slots = \"16\"
drain = \"0s\"
[network]
allow = [\"10.0.0.1\", 5]
[log]
filter = \"a=b=c\"
[databases.blog]
ulr = \"sqlite:blog.db\"
mode = \"write\"
[databases.shop]
url = \"oracle://host/shop\"
[databases.empty]
[databases.\"not a name\"]
url = \"sqlite:x.db\"
[hosts.\"a.test\"]
rate = \"60\"
[hosts]
\"b.test\" = \"60/1m\"
[workflows.blog.vars]
\"a b\" = 1
[workflows.blog]
var = 1
[secrets]
organizations = { KEY = [\"me\"] }
[reload]
removal_grace = 2
publish = \"yes\"
";

/// The line of each, and parts of what is said and of the help.
const TOLD: &[(usize, &str, &str)] = &[
    (1, "there is no section [limts]", "did you mean `limits`?"),
    (4, "[limits] timeout = 30 is not a duration", "\"30s\""),
    (
        5,
        "[limits] has no key `default_timeuot`",
        "did you mean `default_timeout`?",
    ),
    (6, "[limits] memory = \"64 mb\" is not a size", "MiB"),
    (
        7,
        "[limits] max_parallel = 0 is not a whole number of at least 1",
        "",
    ),
    (8, "[limits] cpu = \"0s\" is not a duration above zero", ""),
    (9, "[limits] sql_concurrent: ", ""),
    (
        11,
        "[store] durability = \"ful\" is not \"full\" or \"normal\"",
        "did you mean `full`?",
    ),
    (
        13,
        "[engine] slots = \"16\" is not a whole number of at least 1",
        "without quotes",
    ),
    (
        16,
        "[network] allow = [\"10.0.0.1\", 5] is not a list of addresses",
        "10.0.0.0/8:443",
    ),
    (
        18,
        "[log] filter = \"a=b=c\" is not a filter",
        "flowweaver=debug",
    ),
    (
        20,
        "[databases.blog] has no key `ulr`",
        "did you mean `url`?",
    ),
    (
        21,
        "[databases.blog] mode = \"write\" is not \"read\" or \"read-write\"",
        "",
    ),
    (23, "[databases.shop] url: ", ""),
    (24, "[databases.empty] needs `url`", "sqlite:PATH"),
    (25, "[databases]: \"not a name\" is not a database name", ""),
    (
        28,
        "[hosts.\"a.test\"] rate = \"60\" is not a rate",
        "60/1m",
    ),
    (30, "[hosts.\"b.test\"] must be a table", "rate = \"60/1m\""),
    (32, "\"a b\" is not a variable", ""),
    (34, "[workflows.blog] has no key `var`", "`vars`"),
    (36, "[secrets] organizations: ", ""),
    (38, "[reload] removal_grace = 2 is not a duration", ""),
    (
        39,
        "[reload] publish = \"yes\" is not true or false",
        "without quotes",
    ),
];

#[test]
fn every_mistake_is_told_at_once_with_its_line_what_was_given_and_what_is_taken() {
    let (found, variables) = remarks(
        MISTAKES,
        &[
            ("FLOWWEAVER_ENGINE_QUEUE", "none"),
            ("FLOWWEAVER_LIMITS_TIMEUOT", "5m"),
            ("FLOWWEAVER_NETWORK_ALLOW", "[\"localhost:80\"]"),
        ],
    );
    for (expected, found) in TOLD.iter().zip(&found) {
        let (line, message, help) = found;
        assert_eq!(*line, expected.0, "{found:?}");
        assert!(message.contains(expected.1), "{found:?}");
        assert!(help.contains(expected.2), "{found:?}");
    }
    assert_eq!(found.len(), TOLD.len(), "{found:#?}");
    let expected = [
        "FLOWWEAVER_ENGINE_QUEUE: [engine] queue = none is not a whole number of at least 1",
        "FLOWWEAVER_LIMITS_TIMEUOT: [limits] has no key `timeuot`; did you mean `timeout`?",
        "FLOWWEAVER_NETWORK_ALLOW: [network] allow: \"localhost:80\" is not an address",
    ];
    for (expected, found) in expected.iter().zip(&variables) {
        assert!(found.contains(expected), "{found}");
    }
    assert_eq!(variables.len(), expected.len(), "{variables:#?}");
}

#[test]
fn a_key_outside_its_section_and_broken_toml_are_told_with_what_else_is_wrong() {
    let (found, _) = remarks(
        "slots = 5\nlimits = 5\n[engine\nqueue = 6\n[log]\nformt = \"text\"\n",
        &[],
    );
    let lines: Vec<usize> = found.iter().map(|(line, ..)| *line).collect();
    assert_eq!(lines, [1, 2, 3, 6], "{found:#?}");
    assert!(found[0].2.contains("belongs below [engine]"), "{found:?}");
    assert!(found[1].1.contains("is a section"), "{found:?}");
    assert!(found[3].2.contains("`format`"), "{found:?}");
    let (twice, _) = remarks("[engine]\nslots = 5\nslots = 6\n", &[]);
    assert!(
        twice[0].1.contains("twice") && twice[0].1.contains("line 2"),
        "{twice:?}"
    );
}

#[test]
fn no_message_shows_a_password_of_a_url() {
    for text in [
        "[databases]\nshop = { url = \"postgres://tasks:geheim@db/shop\", mod = \"read\" }\n",
        "[databases.shop]\nurl = \"postgres://tasks:ge@heim:geheim@db\"\n",
        "[databases.shop]\nurl = postgres://tasks:geheim@db/shop\n",
        "[store]\nurl = [\"postgres://tasks:geheim@db/shop\"]\n",
        "[store]\nurl = \"postgres://:geheim@db/shop\n",
        "[databases.shop]\nurl = \"postgres://tasks:geheim@db/shop?sslmode=no\" # geh\n",
    ] {
        let refused = parse(Path::new("f"), text, Profile::Plain, &BTreeMap::new());
        let shown = refused.unwrap_err().to_string();
        assert!(shown.contains("postgres://"), "{shown}");
        assert!(!shown.contains("heim"), "{shown}");
    }
    let variable = [("FLOWWEAVER_STORE_DURABILITY", "postgres://a:geheim@db/x")];
    let (_, shown) = remarks("", &variable);
    assert!(!shown[0].contains("geheim"), "{shown:?}");
}

#[test]
fn two_hosts_that_differ_by_case_only_are_refused() {
    let (found, _) = remarks(
        "[hosts.\"api.example.com\"]\nrate = \"1/1s\"\n[hosts.\"API.Example.com\"]\nrate = \"9/1s\"\n",
        &[],
    );
    assert_eq!(found.len(), 1, "{found:?}");
    let (line, message, _) = &found[0];
    assert_eq!(*line, 3);
    assert!(
        message.contains("API.Example.com")
            && message.contains("the same host")
            && message.contains("line 1"),
        "{message}"
    );
}

#[test]
fn a_default_above_its_ceiling_is_refused_and_one_that_nobody_wrote_comes_down_with_it() {
    let text = "[limits]\ntimeout = \"1m\"\ndefault_timeout = \"2m\"\ncpu = \"1s\"\nmemory = \"1 MiB\"\n\
        default_memory = \"2 MiB\"\nmax_parallel = 2\ndefault_max_parallel = 3\n";
    let (found, variables) = remarks(text, &[("FLOWWEAVER_LIMITS_DEFAULT_CPU", "2s")]);
    let lines: Vec<usize> = found.iter().map(|(line, ..)| *line).collect();
    assert_eq!(lines, [3, 6, 8], "{found:#?}");
    let (_, message, help) = &found[0];
    assert_eq!(
        message,
        "[limits] default_timeout = 2m is above its ceiling, timeout = 1m"
    );
    assert!(help.contains("raise `timeout`"), "{help}");
    assert!(
        variables[0].contains("FLOWWEAVER_LIMITS_DEFAULT_CPU")
            && variables[0].contains("above its ceiling"),
        "{variables:?}"
    );
    // The mistake in a ceiling is told, and not what follows from its absence.
    let (found, _) = remarks(
        "[limits]\ntimeout = \"9 h\"\ndefault_timeout = \"8h\"\n",
        &[],
    );
    assert_eq!(found.len(), 1, "{found:?}");

    let text = "[limits]\ntimeout = \"5s\"\ncpu = \"1s\"\nmemory = \"1 MiB\"\nmax_parallel = 2\n";
    let limits = parse(Path::new("f"), text, Profile::Plain, &BTreeMap::new())
        .unwrap()
        .limits;
    assert_eq!(limits.default_timeout, limits.timeout);
    assert_eq!(limits.default_cpu, limits.cpu);
    assert_eq!(limits.default_memory, limits.memory);
    assert_eq!(limits.default_max_parallel, limits.max_parallel);
}

#[test]
fn a_database_whose_file_does_not_exist_is_warned_of_at_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(FILE_NAME);
    fs::write(folder.path().join("there.db"), "").unwrap();
    let text = "[databases.there]\nurl = \"sqlite:there.db\"\n[databases.blog]\nurl = \"sqlite:blog.db\"\n";
    fs::write(&file, text).unwrap();
    let warnings = load(Some(&file), BTreeMap::new()).unwrap().warnings;
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert_eq!(warnings[0].severity, Severity::Warning);
    assert_eq!(warnings[0].line_column().0, 4);
    let path = folder.path().join("blog.db").display().to_string();
    assert!(warnings[0].message.contains(&path), "{warnings:?}");
}

/// The table of keys is what the types behind it have, no more and no less.
#[test]
fn every_key_that_is_taken_has_a_place_in_the_settings_and_the_other_way_round() {
    let full = "[databases.a]\nurl = \"sqlite:a.db\"\n[hosts.\"a.test\"]\nrate = \"1/1s\"\n[workflows.a.vars]\n";
    let settings = parse(Path::new("f"), full, Profile::Plain, &BTreeMap::new()).unwrap();
    let settings = serde_json::to_value(settings).unwrap();
    let settings = settings.as_object().unwrap();
    let named: Vec<_> = keys::SECTIONS.iter().map(|section| section.name).collect();
    assert_eq!(settings.len(), named.len());
    for section in keys::SECTIONS {
        let mut of = &settings[section.name];
        if section.form != Form::Flat {
            of = of.as_object().unwrap().values().next().unwrap();
        }
        let mut types: Vec<_> = of.as_object().unwrap().keys().map(String::as_str).collect();
        let mut table: Vec<_> = section.keys.iter().map(|key| key.name).collect();
        types.sort_unstable();
        table.sort_unstable();
        assert_eq!(types, table, "{}", section.name);
    }
}

#[test]
fn a_variable_that_reads_like_a_number_is_text_where_text_is_taken() {
    let env = environment(&[
        ("FLOWWEAVER_PATHS_FLOWS", "2026"),
        ("FLOWWEAVER_PATHS_TASKS", "true"),
    ]);
    let paths = parse(Path::new("f"), "", Profile::Plain, &env)
        .unwrap()
        .paths;
    assert_eq!((paths.flows, paths.tasks), ("2026".into(), "true".into()));
}

#[test]
fn the_environment_wins_over_the_file_and_the_file_over_the_default() {
    let env = environment(&[
        ("FLOWWEAVER_ENGINE_SLOTS", "7"),
        ("FLOWWEAVER_PATHS_FLOWS", "elsewhere"),
        ("FLOWWEAVER_SECRET_LIMITS_SLOTS", "not a setting"),
        ("FLOWWEAVER_SECRETS_KEY", "not a setting either"),
        ("FLOWWEAVER_SECRETS_KEY_FILE", "keys"),
    ]);
    let settings = parse(
        Path::new("f"),
        "[engine]\nslots = 5\nqueue = 6\n",
        Profile::Plain,
        &env,
    )
    .unwrap();
    assert_eq!((settings.engine.slots, settings.engine.queue), (7, 6));
    assert_eq!(settings.engine.drain, EngineSection::default().drain);
    assert_eq!(settings.paths.flows, Path::new("elsewhere"));
    assert_eq!(
        settings.secrets.key_file.as_deref(),
        Some(Path::new("keys"))
    );
}

#[test]
fn a_missing_file_is_an_error_only_when_it_was_named() {
    assert!(matches!(
        load(Some(Path::new("absent.toml")), BTreeMap::new()),
        Err(ConfigError::Unreadable { .. })
    ));
    assert!(load(None, BTreeMap::new()).is_ok());
}

#[test]
fn relative_paths_are_relative_to_the_files_folder() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(FILE_NAME);
    let text = "[store]\nurl = \"sqlite:runs.db\"\n[secrets]\nfolder = \"keys\"\n\
        [databases.blog]\nurl = \"sqlite:///var/blog.db\"\n[databases.near]\nurl = \"sqlite://near.db\"\n";
    fs::write(&file, text).unwrap();
    let settings = load(Some(&file), BTreeMap::new()).unwrap().settings;
    let below = |name: &str| folder.path().join(name);
    assert_eq!(settings.paths.flows, below("flows"));
    assert_eq!(settings.secrets.folder, Some(below("keys")));
    assert_eq!(sqlite_path(&settings.store.url), Some(&*below("runs.db")));
    let urls: Vec<_> = settings
        .databases
        .values()
        .map(|d| sqlite_path(&d.url))
        .collect();
    assert_eq!(
        urls,
        [Some(Path::new("/var/blog.db")), Some(&*below("near.db"))]
    );
}

#[test]
fn a_limit_of_a_host_that_is_none_is_refused_with_its_place() {
    let refused = |text: &str, words: &str| {
        let error = parse(Path::new("f"), text, Profile::Plain, &BTreeMap::new()).unwrap_err();
        assert!(error.to_string().contains(words), "{text}: {error}");
    };
    refused("[hosts.\"a b\"]\nrate = \"1/1s\"", "not a host");
    refused("[hosts.\"*.10.0.0.5\"]\nrate = \"1/1s\"", "not a host");
    refused("[hosts.\"a.*.b\"]\nrate = \"1/1s\"", "not a host");
    for rate in ["60", "0/1m", "60/0s", "60/m", "-1/1s", "1.5/1s", "1/367d"] {
        let text = format!("[hosts.\"a.test\"]\nrate = \"{rate}\"");
        refused(&text, "not a rate");
    }
    refused("[hosts.\"a.test\"]", "a `rate`, `concurrent`, or both");
    refused("[hosts.\"a.test\"]\nconcurrent = 0", "at least 1");
    refused(
        "[hosts.\"a.test\"]\nrate = \"1/1s\"\nburst = 0",
        "at least 1",
    );
    refused(
        "[hosts.\"a.test\"]\nconcurrent = 1\nburst = 2",
        "`burst` needs",
    );
    refused("[hosts.\"a.test\"]\nrates = \"1/1s\"", "rates");
    let text = "[hosts.\"*.EXAMPLE.한국\"]\nrate = \"60/1m\"";
    let settings = parse(Path::new("f"), text, Profile::Plain, &BTreeMap::new()).unwrap();
    let (key, section) = settings.hosts.first_key_value().unwrap();
    let suffix = ".example.xn--3e0b707e".to_owned();
    assert_eq!(
        key.pattern(),
        crate::workflow::grant::HostPattern::Suffix(suffix)
    );
    assert_eq!((section.burst, section.concurrent), (1, None));
}

/// The settings page is one file with every key at its default, and examples of what has none.
#[test]
fn the_settings_page_names_every_key_with_its_default() {
    let page = include_str!("../../../docs/settings.md");
    let text = page
        .split_once("```toml\n")
        .and_then(|(_, rest)| rest.split_once("```"))
        .map(|(text, _)| text)
        .unwrap();
    parse(
        Path::new("docs/settings.md"),
        text,
        Profile::Plain,
        &BTreeMap::new(),
    )
    .unwrap();
    let written: toml::Table = toml::from_str(text).unwrap();
    let defaults = serde_json::to_value(Settings::default()).unwrap();
    let mut missing = Vec::new();
    for (section, keys) in defaults.as_object().unwrap() {
        for (key, default) in keys.as_object().unwrap() {
            let found = written.get(section).and_then(|keys| keys.get(key));
            let as_written = found.map(|value| serde_json::to_value(value).unwrap());
            // What has no default is shown by an example that is not in force.
            let shown = if default.is_null() {
                found.is_none() && text.contains(&format!("\n# {key} = "))
            } else {
                as_written.as_ref() == Some(default)
            };
            if !shown {
                missing.push(format!("[{section}] {key} = {default}, not {as_written:?}"));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    // Sections by name have no default; their keys are those that a full one shows.
    for key in ["url", "mode", "tables", "timeout", "connections"] {
        assert!(written["databases"]["blog"].get(key).is_some(), "{key}");
    }
    for key in ["rate", "burst", "concurrent"] {
        let host = &written["hosts"]["api.openai.com"];
        assert!(host.get(key).is_some(), "{key}");
    }
}

#[test]
fn a_mode_that_is_none_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let error = profile::surroundings(environment(&[("MODE", "prod")]), folder.path());
    let error = error.unwrap_err().to_string();
    assert!(error.contains("MODE") && error.contains("prd"), "{error}");
}

#[test]
fn a_dot_env_file_is_read_in_development_only_and_the_process_is_stronger() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(
        folder.path().join(".env"),
        "# comment\nFLOWWEAVER_ENGINE_SLOTS=3\nFLOWWEAVER_SECRET_TOKEN='a b$c'\n",
    )
    .unwrap();
    let file = folder.path().join(FILE_NAME);
    std::fs::write(&file, "[engine]\nslots = 5\n").unwrap();
    let slots = |pairs: &[(&str, &str)]| {
        let loaded = load(Some(&file), environment(pairs)).unwrap();
        (
            loaded.settings.engine.slots,
            loaded.environment.get("FLOWWEAVER_SECRET_TOKEN").cloned(),
        )
    };
    assert_eq!(slots(&[]), (5, None));
    assert_eq!(slots(&[("MODE", "prd")]), (5, None));
    assert_eq!(slots(&[("MODE", "dev")]), (3, Some("a b$c".to_owned())));
    assert_eq!(
        slots(&[("MODE", "dev"), ("FLOWWEAVER_ENGINE_SLOTS", "9")]).0,
        9
    );
}

#[test]
fn a_broken_dot_env_file_is_refused_without_showing_its_line() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(".env"), "hunter two\n").unwrap();
    let error = profile::surroundings(environment(&[("MODE", "dev")]), folder.path());
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains(".env") && !error.contains("hunter"),
        "{error}"
    );
}

#[test]
fn a_profile_changes_defaults_and_the_file_is_stronger() {
    let format = |profile, text| {
        parse(Path::new("f"), text, profile, &BTreeMap::new())
            .unwrap()
            .log
    };
    assert_eq!(format(Profile::Production, "").format, LogFormat::Json);
    assert_eq!(format(Profile::Plain, "").format, LogFormat::Text);
    let text = "[log]\nformat = \"text\"\nfilter = \"warn\"\n";
    assert_eq!(format(Profile::Production, text).format, LogFormat::Text);
    assert_eq!(format(Profile::Development, text).filter, "warn");
}
