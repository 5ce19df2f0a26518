//! What the module promises, filter by filter.

use flowweaver_task::{
    Error, Value, json,
    log::Level,
    testing::{self, World},
};

use super::run;

fn first(filter: &str, input: Value) -> Result<Value, Error> {
    let output = testing::run(run, json!({ "filter": filter, "input": input }))?;
    Ok(output["value"].clone())
}

fn all(filter: &str, input: Value) -> Result<Value, Error> {
    let asked = json!({ "filter": filter, "input": input, "mode": "all" });
    Ok(testing::run(run, asked)?["values"].clone())
}

fn refusal(filter: &str) -> Error {
    let error = first(filter, Value::Null).unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.retryable),
        ("filter.invalid", false),
        "{error}"
    );
    error
}

#[test]
fn a_filter_that_is_none_is_refused_with_the_place_of_every_mistake() {
    for (filter, told) in [
        (".a |\n  | .b", "2:3: expected term, found `|`"),
        (".[", "1:3: expected closing bracket, found the end"),
        ("\"abc", "expected closing quote, found the end"),
        (".a | foo", "1:6: there is no filter `foo/0`"),
        (".가격 | 나", "1:2"),
        ("map(.; .)", "there is no filter `map/2`"),
        ("$x", "there is no variable `$x`"),
        ("", "expected term, found the end"),
    ] {
        let error = refusal(filter);
        assert!(error.message.contains(told), "{filter}: {}", error.message);
    }
    let error = refusal("foo | bar |\n$x");
    let mistakes = error.details.unwrap()["mistakes"].clone();
    assert_eq!(mistakes.as_array().unwrap().len(), 3, "{mistakes}");
    assert_eq!(
        (&mistakes[2]["line"], &mistakes[2]["column"]),
        (&json!(2), &json!(1))
    );
}

#[test]
fn nothing_of_the_machine_is_there_for_a_filter() {
    for filter in [
        "input",
        "[inputs]",
        "input_filename",
        "env",
        "$ENV.PATH",
        "halt",
        "halt(1)",
        "halt_error",
        "stderr",
        "localtime",
        "0 | strflocaltime(\"%Z\")",
        "include \"a\"; .",
        "import \"a\" as a; .",
        "import \"a\" as $a; $a",
    ] {
        let error = refusal(filter);
        assert!(
            error.message.contains("does not exist here")
                || error.message.contains("module loading not supported")
                || error.message.contains("there are no files here"),
            "{filter}: {}",
            error.message
        );
    }
}

#[test]
fn a_filter_or_an_argument_out_of_bounds_is_bad_input() {
    let long = format!(".{}", " ".repeat(64 << 10));
    for asked in [
        json!({ "filter": long }),
        json!({ "filter": ".", "arguments": { "a-b": 1 } }),
        json!({ "filter": ".", "arguments": { "": 1 } }),
        json!({ "filter": ".", "arguments": { "1a": 1 } }),
        json!({ "filter": ".", "mode": "last" }),
        json!({ "filter": ".", "raw": true }),
        json!({ "input": 1 }),
    ] {
        let error = testing::run(run, asked.clone()).unwrap_err();
        assert_eq!(
            (error.code.as_str(), error.retryable),
            ("input.invalid", false),
            "{error}"
        );
    }
}

#[test]
fn a_filter_that_fails_says_why_and_is_not_retried() {
    let error = first(".a", json!([1])).unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.retryable),
        ("filter.failed", false)
    );
    assert!(error.message.contains("cannot index"), "{error}");
    let error = first("error(\"no price at \\(.)\")", json!(7)).unwrap_err();
    assert_eq!(
        (error.message.as_str(), error.details),
        ("no price at 7", None)
    );
    let error = first("error({field: \"price\"})", Value::Null).unwrap_err();
    assert_eq!(
        error.details,
        Some(json!({ "error": { "field": "price" } }))
    );
    // What came before the failure does not hide it.
    assert_eq!(
        all("1, error(\"late\")", Value::Null).unwrap_err().code,
        "filter.failed"
    );
    assert_eq!(first("1, error(\"late\")", Value::Null), Ok(json!(1)));
}

#[test]
fn an_error_on_a_huge_value_is_short() {
    let error = first("error([range(100000)])", Value::Null).unwrap_err();
    assert!(error.message.len() < 1100, "{}", error.message.len());
    // Doubled forty times: its text would have a trillion letters.
    for filter in ["error", ".a", ". - 1"] {
        let filter = format!("reduce range(40) as $i (0; [., .]) | {filter}");
        let error = first(&filter, Value::Null).unwrap_err();
        assert!(error.message.len() < 1100 && error.details.is_none());
    }
}

#[test]
fn a_result_without_a_json_form_is_named_by_its_place() {
    for (filter, told) in [
        ("{a: [1, nan]}", "`.a[1]` of the result is a number"),
        ("infinite", "the result is a number"),
        ("\"a\" | tobytes", "the result is bytes"),
        ("{(\"k\"): {(1): 2}}", "`.k` of the result is a key"),
        (
            "\"/w==\" | @base64d",
            "the result is text that is not UTF-8",
        ),
        (
            "[limit(12; repeat(10000000000))] | reduce .[] as $x (1; . * $x) | . * . * . * .",
            "a number",
        ),
    ] {
        let error = first(filter, Value::Null).unwrap_err();
        assert_eq!(
            (error.code.as_str(), error.retryable),
            ("filter.failed", false),
            "{filter}"
        );
        assert!(error.message.contains(told), "{filter}: {}", error.message);
    }
}

#[test]
fn results_without_end_stop_at_a_named_limit() {
    for filter in [
        "repeat(1)",
        "range(1; infinite)",
        "repeat(\"a\" * 1000)",
        "\"ab\" * 3000000",
        "reduce range(40) as $i (0; [., .])",
        "reduce range(121) as $i (0; [.])",
    ] {
        let error = all(filter, Value::Null).unwrap_err();
        assert_eq!(
            (error.code.as_str(), error.retryable),
            ("limit.filter-result", false),
            "{filter}: {error}"
        );
    }
    // Who takes the first is not concerned with the rest.
    assert_eq!(first("repeat(1)", Value::Null), Ok(json!(1)));
    assert_eq!(
        first("[limit(3; repeat(1))]", Value::Null),
        Ok(json!([1, 1, 1]))
    );
}

#[test]
fn no_result_is_an_error_for_the_first_and_an_empty_list_for_all() {
    let error = first(".[] | select(. > 3)", json!([1, 2])).unwrap_err();
    assert_eq!(
        (error.code.as_str(), error.retryable),
        ("filter.empty", false)
    );
    assert_eq!(all(".[] | select(. > 3)", json!([1, 2])), Ok(json!([])));
    // Null is a result like any other.
    let asked = json!({ "filter": ".absent", "input": {} });
    assert_eq!(testing::run(run, asked), Ok(json!({ "value": null })));
}

#[test]
fn a_filter_reshapes_joins_groups_and_formats() {
    let shop = json!({ "items": [
        { "name": "스틱", "price": 12000, "tag": "hike" },
        { "name": "컵", "price": 3000.5, "tag": "home" },
        { "name": "배낭", "price": 45000, "tag": "hike" },
    ] });
    for (filter, expected) in [
        (
            "[.items[] | {name, won: .price}] | .[0]",
            json!({ "name": "스틱", "won": 12000 }),
        ),
        (
            ".items | group_by(.tag) | map({(.[0].tag): map(.price) | add}) | add",
            json!({ "hike": 57000, "home": 3000.5 }),
        ),
        (
            ".items | sort_by(-.price) | map(.name) | join(\" > \")",
            json!("배낭 > 스틱 > 컵"),
        ),
        (
            "[.items[].name | ascii_downcase | length]",
            json!([2, 1, 2]),
        ),
        (
            ".items | map(select(.name | test(\"^배\"))) | length",
            json!(1),
        ),
        ("\"a,b;c\" | [splits(\"[,;]\")]", json!(["a", "b", "c"])),
        ("\"가 나\" | @uri", json!("%EA%B0%80%20%EB%82%98")),
        ("1700000000 | todate", json!("2023-11-14T22:13:20Z")),
        ("\"2023-11-14T22:13:20Z\" | fromdate", json!(1_700_000_000)),
        ("{a: {b: [1]}} | [paths] | length", json!(3)),
        ("[1, [2]] | tojson | fromjson | flatten", json!([1, 2])),
        ("try error(\"x\") catch \"caught \\(.)\"", json!("caught x")),
        ("def twice(f): f | f; 3 | twice(. * .)", json!(81)),
        ("(.items[0].price |= . / 2) | .items[0].price", json!(6000)),
        ("10 | pow(.; 2) | sqrt", json!(10)),
    ] {
        assert_eq!(first(filter, shop.clone()), Ok(expected), "{filter}");
    }
}

#[test]
fn numbers_keep_their_value_up_to_64_bits() {
    for number in [
        json!(0),
        json!(-1),
        json!(i64::MAX),
        json!(i64::MIN),
        json!(u64::MAX),
        json!(4_294_967_296_u64),
        json!(0.1),
        json!(1e300),
    ] {
        assert_eq!(first(".", number.clone()), Ok(number));
    }
    assert_eq!(first("6 / 2", Value::Null), Ok(json!(3)));
    assert_eq!(
        first(". + 1", json!(i64::MAX)),
        Ok(json!(9_223_372_036_854_775_808_u64))
    );
    assert_eq!(
        first(". * 16", json!(u64::MAX)),
        Ok(json!(2.951_479_051_793_528_3e20))
    );
}

#[test]
fn arguments_are_variables_by_their_names() {
    let asked = json!({
        "filter": "[$a, $b.x, .]",
        "input": 3,
        "arguments": { "b": { "x": 2 }, "a": "1" },
    });
    assert_eq!(
        testing::run(run, asked),
        Ok(json!({ "value": ["1", 2, 3] }))
    );
    let asked = json!({ "filter": "$a", "arguments": { "a": "' | env | '" } });
    assert_eq!(
        testing::run(run, asked),
        Ok(json!({ "value": "' | env | '" }))
    );
}

#[test]
fn debug_writes_to_the_tasks_log_and_passes_its_input_on() {
    let world = World::new();
    assert_eq!(
        all(".[] | debug", json!([1, { "a": 2 }])),
        Ok(json!([1, { "a": 2 }]))
    );
    assert_eq!(first("debug(\"at \\(.)\")", json!(3)), Ok(json!(3)));
    let logs = world.logs();
    let lines: Vec<(Level, &str)> = logs
        .iter()
        .map(|line| (line.level, line.message.as_str()))
        .collect();
    assert_eq!(
        lines,
        [
            (Level::Debug, "1"),
            (Level::Debug, "{\"a\":2}"),
            (Level::Debug, "at 3")
        ]
    );
}

#[test]
fn the_description_names_modes_and_defaults_and_needs_nothing() {
    let described: Value = flowweaver_task::serde_json::from_str(&run::describe()).unwrap();
    assert_eq!(described["name"], "json-transform");
    assert_eq!(described["requires"], json!([]));
    assert_eq!(described["defaults"]["mode"], "first");
    assert_eq!(described["input"]["required"], json!(["filter"]));
    assert_eq!(described["input"]["additionalProperties"], false);
}
