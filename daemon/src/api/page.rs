//! Lists in pages, as tables of front ends ask for them (`current`, `pageSize`, `search`, `sorters`, `filters`), and
//! by keyset beside it (`cursor`, `limit`).
//!
//! For lists that are bounded and in memory: users, roles, tokens. Runs, logs and the audit log are read page
//! by page from the store.

use std::cmp::Ordering;

use serde::Deserialize;
use serde_json::{Value, json};

use super::problem::ApiError;

/// What fits on a screen.
const PAGE_SIZE: usize = 20;
/// Larger pages only make the first row come later.
const PAGE_SIZE_MAX: usize = 200;
/// A table has so many columns.
const CONDITIONS_MAX: usize = 20;

/// Which part of a list.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct PageQuery {
    current: Option<usize>,
    page_size: Option<usize>,
    search: Option<String>,
    /// `[{"field": "name", "order": "desc"}]`
    sorters: Option<String>,
    /// `[{"field": "status", "operator": "eq", "value": "active"}]`
    filters: Option<String>,
    cursor: Option<String>,
    limit: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sorter {
    field: String,
    #[serde(default)]
    order: Order,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Order {
    #[default]
    Asc,
    Desc,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Filter {
    field: String,
    #[serde(default)]
    operator: Operator,
    value: Value,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Operator {
    #[default]
    Eq,
    Ne,
    Contains,
    In,
}

impl PageQuery {
    /// The part of `rows` that is asked for. Every row has an `id`; `fields` are those that can be sorted,
    /// filtered and searched by.
    ///
    /// # Errors
    /// 400 for a field, a page or a cursor that there is not.
    pub fn of(&self, mut rows: Vec<Value>, fields: &[&str]) -> Result<Value, ApiError> {
        for filter in conditions::<Filter>("filters", self.filters.as_deref())? {
            known(&filter.field, fields)?;
            rows.retain(|row| filter.holds(row.get(&filter.field).unwrap_or(&Value::Null)));
        }
        if let Some(search) = self.search.as_deref().filter(|text| !text.is_empty()) {
            let wanted = search.to_lowercase();
            rows.retain(|row| {
                let texts = fields.iter().filter_map(|field| row.get(field)?.as_str());
                texts
                    .into_iter()
                    .any(|text| text.to_lowercase().contains(&wanted))
            });
        }
        // The last sorter first, because each keeps the order of what it finds equal.
        for sorter in conditions::<Sorter>("sorters", self.sorters.as_deref())?
            .iter()
            .rev()
        {
            known(&sorter.field, fields)?;
            rows.sort_by(|a, b| {
                let order = compare(a.get(&sorter.field), b.get(&sorter.field));
                match sorter.order {
                    Order::Asc => order,
                    Order::Desc => order.reverse(),
                }
            });
        }
        match (&self.cursor, self.limit, self.current, self.page_size) {
            (None, None, ..) => self.numbered(rows),
            (.., None, None) => self.keyset(rows),
            _ => Err(ApiError::bad_request(
                "use either current and pageSize, or cursor and limit",
            )),
        }
    }

    fn numbered(&self, rows: Vec<Value>) -> Result<Value, ApiError> {
        let size = bounded("pageSize", self.page_size)?;
        let current = self.current.unwrap_or(1);
        let total = rows.len();
        let pages = total.div_ceil(size).max(1);
        let skipped = current
            .checked_sub(1)
            .and_then(|before| before.checked_mul(size))
            .ok_or_else(|| ApiError::bad_request("current: a page, from 1 on"))?;
        let data: Vec<Value> = rows.into_iter().skip(skipped).take(size).collect();
        Ok(json!({
            "data": data, "total": total, "current": current, "pageSize": size, "totalPages": pages,
            "hasNext": current < pages, "hasPrevious": current > 1,
        }))
    }

    fn keyset(&self, rows: Vec<Value>) -> Result<Value, ApiError> {
        let size = bounded("limit", self.limit)?;
        let start = match &self.cursor {
            None => 0,
            Some(cursor) => {
                let place = rows
                    .iter()
                    .position(|row| row.get("id") == Some(&json!(cursor)));
                place.ok_or_else(|| {
                    ApiError::bad_request("cursor: no row of this list; begin again without it")
                })? + 1
            }
        };
        let more = rows.len() > start.saturating_add(size);
        let data: Vec<Value> = rows.into_iter().skip(start).take(size).collect();
        let next = data.last().filter(|_| more).and_then(|row| row.get("id"));
        let next = next.cloned();
        Ok(json!({ "data": data, "nextCursor": next }))
    }
}

impl Filter {
    fn holds(&self, value: &Value) -> bool {
        let contains = |value: &Value, part: &Value| match (value, part) {
            (Value::String(text), Value::String(part)) => {
                text.to_lowercase().contains(&part.to_lowercase())
            }
            (Value::Array(items), part) => items.contains(part),
            _ => false,
        };
        match self.operator {
            Operator::Eq => value == &self.value,
            Operator::Ne => value != &self.value,
            Operator::Contains => contains(value, &self.value),
            Operator::In => self
                .value
                .as_array()
                .is_some_and(|values| values.contains(value)),
        }
    }
}

fn bounded(name: &str, wanted: Option<usize>) -> Result<usize, ApiError> {
    match wanted.unwrap_or(PAGE_SIZE) {
        size @ 1..=PAGE_SIZE_MAX => Ok(size),
        _ => Err(ApiError::bad_request(format!(
            "{name}: 1 to {PAGE_SIZE_MAX}"
        ))),
    }
}

fn conditions<T: serde::de::DeserializeOwned>(
    name: &str,
    text: Option<&str>,
) -> Result<Vec<T>, ApiError> {
    let text = text.filter(|text| !text.is_empty()).unwrap_or("[]");
    let found: Vec<T> = super::json::parse(text.as_bytes()).map_err(|_| {
        ApiError::bad_request(format!(
            "{name}: JSON like [{{\"field\": \"name\", …}}] with {}",
            match name {
                "sorters" => "order asc or desc",
                _ => "operator eq, ne, contains or in, and value",
            }
        ))
    })?;
    match found.len() {
        0..=CONDITIONS_MAX => Ok(found),
        _ => Err(ApiError::bad_request(format!(
            "{name}: at most {CONDITIONS_MAX}"
        ))),
    }
}

fn known(field: &str, fields: &[&str]) -> Result<(), ApiError> {
    match fields.contains(&field) {
        true => Ok(()),
        false => Err(ApiError::bad_request(format!(
            "{field:?} is none of the fields {}",
            fields.join(", ")
        ))),
    }
}

fn compare(a: Option<&Value>, b: Option<&Value>) -> Ordering {
    match (a, b) {
        (Some(Value::String(a)), Some(Value::String(b))) => a
            .to_lowercase()
            .cmp(&b.to_lowercase())
            .then_with(|| a.cmp(b)),
        (Some(Value::Number(a)), Some(Value::Number(b))) => a
            .as_f64()
            .unwrap_or(0.0)
            .total_cmp(&b.as_f64().unwrap_or(0.0)),
        (Some(Value::Bool(a)), Some(Value::Bool(b))) => a.cmp(b),
        // What is absent comes last; what is of different kinds stays as it is.
        (None | Some(Value::Null), Some(value)) if !value.is_null() => Ordering::Greater,
        (Some(value), None | Some(Value::Null)) if !value.is_null() => Ordering::Less,
        _ => Ordering::Equal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: &[&str] = &["name", "status", "roles"];

    fn rows() -> Vec<Value> {
        let names = ["Ahn", "baek", "Choi", "Do", "Eom"];
        let rows = names.iter().enumerate().map(|(at, name)| {
            let status = if at % 2 == 0 { "active" } else { "disabled" };
            json!({ "id": format!("id{at}"), "name": name, "status": status, "roles": [status] })
        });
        rows.collect()
    }

    fn names(page: &Value) -> Vec<&str> {
        let rows = page["data"].as_array().unwrap().iter();
        rows.map(|row| row["name"].as_str().unwrap()).collect()
    }

    #[test]
    fn a_page_has_its_part_and_says_where_it_stands() {
        let query = PageQuery {
            current: Some(2),
            page_size: Some(2),
            sorters: Some(r#"[{"field":"name","order":"desc"}]"#.to_owned()),
            ..PageQuery::default()
        };
        let page = query.of(rows(), FIELDS).unwrap();
        assert_eq!(names(&page), ["Choi", "baek"]);
        assert_eq!(page["total"], 5);
        assert_eq!(page["totalPages"], 3);
        assert_eq!(page["hasNext"], true);
        assert_eq!(page["hasPrevious"], true);
    }

    #[test]
    fn filters_and_search_hold_together() {
        let query = PageQuery {
            search: Some("o".to_owned()),
            filters: Some(
                r#"[{"field":"roles","operator":"contains","value":"active"}]"#.to_owned(),
            ),
            ..PageQuery::default()
        };
        assert_eq!(names(&query.of(rows(), FIELDS).unwrap()), ["Choi", "Eom"]);
    }

    #[test]
    fn a_cursor_goes_through_the_list_without_gap_or_repeat() {
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let query = PageQuery {
                limit: Some(2),
                cursor,
                ..PageQuery::default()
            };
            let page = query.of(rows(), FIELDS).unwrap();
            seen.extend(names(&page).into_iter().map(str::to_owned));
            match page["nextCursor"].as_str() {
                Some(next) => cursor = Some(next.to_owned()),
                None => break,
            }
        }
        assert_eq!(seen, ["Ahn", "baek", "Choi", "Do", "Eom"]);
    }
}

#[cfg(test)]
mod attacks {
    use super::*;

    /// Attack: A page of a billion rows, a page before the first, a forged cursor, an unknown field. Refused with 400.
    #[test]
    fn pages_that_there_are_not_are_refused() {
        for query in [
            r#"{"pageSize":1000000000}"#,
            r#"{"pageSize":0}"#,
            r#"{"current":0}"#,
            r#"{"current":18446744073709551615}"#,
            r#"{"limit":1000000000}"#,
            r#"{"cursor":"forged"}"#,
            r#"{"cursor":"id0","current":1}"#,
            r#"{"sorters":"[{\"field\":\"passwordHash\"}]"}"#,
            r#"{"filters":"[{\"field\":\"name\",\"operator\":\"regex\",\"value\":\"(a+)+\"}]"}"#,
            r#"{"filters":"'; drop table user"}"#,
        ] {
            let query: PageQuery = serde_json::from_str(query).unwrap();
            let rows = vec![json!({ "id": "id0", "name": "a" })];
            assert!(query.of(rows, &["name"]).is_err(), "{query:?}");
        }
    }
}
