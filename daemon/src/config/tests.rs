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
