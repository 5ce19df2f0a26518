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
    let error = parse(Path::new("flowweaver.toml"), text, &BTreeMap::new())
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
    let error = parse(Path::new("f"), "", &env).unwrap_err().to_string();
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
    ]);
    let settings = parse(Path::new("f"), "[engine]\nslots = 5\nqueue = 6\n", &env).unwrap();
    assert_eq!((settings.engine.slots, settings.engine.queue), (7, 6));
    assert_eq!(settings.engine.drain, EngineSection::default().drain);
    assert_eq!(settings.paths.flows, Path::new("elsewhere"));
}

#[test]
fn a_missing_file_is_an_error_only_when_it_was_named() {
    assert!(matches!(
        load(Some(Path::new("absent.toml")), &BTreeMap::new()),
        Err(ConfigError::Unreadable { .. })
    ));
    assert!(load(None, &BTreeMap::new()).is_ok());
}

#[test]
fn relative_paths_are_relative_to_the_files_folder() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join(FILE_NAME);
    let text = "[store]\nurl = \"sqlite:runs.db\"\n[secrets]\nfolder = \"keys\"\n\
        [databases.blog]\nurl = \"sqlite:///var/blog.db\"\n[databases.near]\nurl = \"sqlite://near.db\"\n";
    fs::write(&file, text).unwrap();
    let settings = load(Some(&file), &BTreeMap::new()).unwrap();
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

/// The settings page is one file with every key at its default, and examples of what has none.
#[test]
fn the_settings_page_names_every_key_with_its_default() {
    let page = include_str!("../../../docs/settings.md");
    let text = page
        .split_once("```toml\n")
        .and_then(|(_, rest)| rest.split_once("```"))
        .map(|(text, _)| text)
        .unwrap();
    parse(Path::new("docs/settings.md"), text, &BTreeMap::new()).unwrap();
    let written: toml::Table = toml::from_str(text).unwrap();
    let defaults = serde_json::to_value(Settings::default()).unwrap();
    let mut missing = Vec::new();
    for (section, keys) in defaults.as_object().unwrap() {
        for (key, default) in keys.as_object().unwrap() {
            let found = written.get(section).and_then(|keys| keys.get(key));
            let as_written = found.map(|value| serde_json::to_value(value).unwrap());
            // An absent default is shown by an example.
            let same = as_written.as_ref() == Some(default) || default.is_null();
            if found.is_none() || !same {
                missing.push(format!("[{section}] {key} = {default}, not {as_written:?}"));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    // Sections by name have no default; their keys are those that a full one shows.
    for key in ["url", "mode", "tables", "timeout"] {
        assert!(written["databases"]["blog"].get(key).is_some(), "{key}");
    }
}
