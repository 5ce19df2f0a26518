//! What the settings promise.

use super::*;

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
        error.contains("FLOWWEAVER_LIMITS_TIMEOUT") && error.contains("not a duration"),
        "{error}"
    );
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
    let (settings, _) = load(Some(&file), BTreeMap::new()).unwrap();
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
        let (settings, environment) = load(Some(&file), environment(pairs)).unwrap();
        (
            settings.engine.slots,
            environment.get("FLOWWEAVER_SECRET_TOKEN").cloned(),
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
