//! From the parts of an HTTP request to the message it stands for.

use std::borrow::Cow;

use bytes::Bytes;
use percent_encoding::percent_decode_str;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_reflect::{
    DynamicMessage, FieldDescriptor, Kind, MessageDescriptor, ReflectMessage, Value,
};

use super::json;
use super::schema::{Part, Route};
use crate::service::Fault;

/// The message that a request along `route` stands for. `variables` are those of the path, still with
/// their escapes.
///
/// Errors: everything wrong with it.
pub(super) fn message(
    input: &MessageDescriptor,
    route: &Route,
    variables: &[&str],
    query: &str,
    body: &[u8],
) -> Result<DynamicMessage, Vec<Fault>> {
    let (mut message, mut faults) = match with_body(input, &route.body, body) {
        Ok(message) => (message, Vec::new()),
        Err(faults) => (DynamicMessage::new(input.clone()), faults),
    };
    for (fields, text) in route.variables.iter().zip(variables) {
        let set = decoded(text).and_then(|text| set_variable(&mut message, fields, &text));
        faults.extend(set.err().map(|text| Fault { field: dotted(fields), text }));
    }
    let mut asked = Vec::new();
    for (name, value) in pairs(query) {
        let set = name.clone().and_then(|name| {
            if !is_open(route, &name) {
                return Err("is given by the path or the body".to_owned());
            }
            let repeated = set_query(&mut message, &name, &value?)?;
            let again = !repeated && asked.contains(&name);
            asked.push(name);
            if again { Err("is given twice".to_owned()) } else { Ok(()) }
        });
        let field = || name.unwrap_or_else(|_| "query".into()).into_owned();
        faults.extend(set.err().map(|text| Fault { field: field(), text }));
    }
    if faults.is_empty() { Ok(message) } else { Err(faults) }
}

/// The encoded message of a request that says everything in its path, which most reads do. None where
/// there is more to it, or something is wrong with it.
pub(super) fn of_path(
    route: &Route,
    variables: &[&str],
    query: &str,
    body: &[u8],
) -> Option<Bytes> {
    if !query.is_empty() || !body.is_empty() {
        return None;
    }
    let mut message = Vec::with_capacity(64);
    for (fields, text) in route.variables.iter().zip(variables) {
        let [field] = fields.as_slice() else { return None };
        if field.kind() != Kind::String {
            return None;
        }
        let text = decoded(text).ok()?;
        encode_key(field.number(), WireType::LengthDelimited, &mut message);
        encode_varint(u64::try_from(text.len()).ok()?, &mut message);
        message.extend_from_slice(text.as_bytes());
    }
    Some(message.into())
}

fn with_body(
    input: &MessageDescriptor,
    part: &Part,
    body: &[u8],
) -> Result<DynamicMessage, Vec<Fault>> {
    match part {
        Part::Whole => json::read(input, body),
        Part::Nothing if body.is_empty() => Ok(DynamicMessage::new(input.clone())),
        Part::Nothing => {
            let text = "there must be none: everything of this request is in its path and query";
            Err(vec![Fault { field: "body".into(), text: text.into() }])
        }
        Part::Field(field) => {
            let mut message = DynamicMessage::new(input.clone());
            if let Kind::Message(inside) = field.kind()
                && !body.is_empty()
            {
                let within = |fault: Fault| match fault.field.as_str() {
                    "" => Fault { field: field.name().to_owned(), text: fault.text },
                    path => Fault { field: format!("{}.{path}", field.name()), text: fault.text },
                };
                let read = json::read(&inside, body);
                let read =
                    read.map_err(|faults| faults.into_iter().map(within).collect::<Vec<_>>());
                message.set_field(field, Value::Message(read?));
            }
            Ok(message)
        }
    }
}

fn dotted(fields: &[FieldDescriptor]) -> String {
    fields.iter().map(FieldDescriptor::name).collect::<Vec<_>>().join(".")
}

/// Sets what the path says. The body may say the same, and nothing else.
fn set_variable(
    message: &mut DynamicMessage,
    fields: &[FieldDescriptor],
    text: &str,
) -> Result<(), String> {
    let (field, inside) = (fields.first(), fields.get(1..).unwrap_or_default());
    let Some(field) = field else { return Ok(()) };
    if !inside.is_empty() {
        return match message.get_field_mut(field).as_message_mut() {
            Some(message) => set_variable(message, inside, text),
            None => Err("is no message".into()),
        };
    }
    let value = if field.kind() == Kind::String {
        Value::String(text.to_owned())
    } else {
        parsed(message, field, text)?
    };
    if message.has_field(field) && *message.get_field(field) != value {
        return Err("the body says otherwise than the path".into());
    }
    message.set_field(field, value);
    Ok(())
}

/// Whether the query may set the field at that path.
fn is_open(route: &Route, path: &str) -> bool {
    let first = path.split('.').next().unwrap_or_default();
    let names = |field: &FieldDescriptor| field.name() == first || field.json_name() == first;
    let in_path = route.variables.iter().filter_map(|fields| fields.first()).any(names);
    let in_body = match &route.body {
        Part::Nothing => false,
        Part::Whole => true,
        Part::Field(field) => names(field),
    };
    !in_path && !in_body
}

/// Sets what the query says, and tells whether the field can hold several.
fn set_query(message: &mut DynamicMessage, path: &str, text: &str) -> Result<bool, String> {
    let (name, inside) = match path.split_once('.') {
        None => (path, None),
        Some((name, inside)) => (name, Some(inside)),
    };
    let descriptor = message.descriptor();
    let field = descriptor.get_field_by_json_name(name);
    let field = field.or_else(|| descriptor.get_field_by_name(name));
    let field = field.ok_or("there is no such field")?;
    if let Some(oneof) = field.containing_oneof()
        && oneof.fields().any(|other| other != field && message.has_field(&other))
    {
        return Err(format!("only one of {} can be set", oneof.name()));
    }
    if let Some(inside) = inside {
        return match message.get_field_mut(&field).as_message_mut() {
            Some(message) => set_query(message, inside, text),
            None => Err("there is no such field".into()),
        };
    }
    if field.is_map() {
        return Err("cannot be given in a query".into());
    }
    let value = parsed(message, &field, text)?;
    match (message.get_field_mut(&field), value) {
        (Value::List(values), Value::List(more)) => {
            values.extend(more);
            Ok(true)
        }
        (place, value) => {
            *place = value;
            Ok(false)
        }
    }
}

/// A value of `field` from a text, by the rules of JSON; where it can hold several, a list of one.
fn parsed(message: &DynamicMessage, field: &FieldDescriptor, text: &str) -> Result<Value, String> {
    let bare = match (field.kind(), text) {
        (Kind::Bool, "true" | "false") => serde_json::Value::Bool(text == "true"),
        (Kind::Enum(_), number) if number.parse::<i32>().is_ok() => {
            serde_json::Value::from(number.parse::<i32>().unwrap_or_default())
        }
        (_, text) => serde_json::Value::from(text),
    };
    let value = if field.is_list() { serde_json::Value::from(vec![bare]) } else { bare };
    let alone = json::read_alone(&message.descriptor(), field.name(), value)?;
    Ok(alone.get_field(field).into_owned())
}

/// The pairs of a query. Errors stand where a name or a value cannot be read.
pub(super) fn pairs(
    query: &str,
) -> impl Iterator<Item = (Result<Cow<'_, str>, String>, Result<Cow<'_, str>, String>)> {
    let part = |text: &'_ str| match text.contains('+') {
        true => decoded(&text.replace('+', " ")).map(|text| Cow::Owned(text.into_owned())),
        false => decoded(text).map(|text| Cow::Owned(text.into_owned())),
    };
    query.split('&').filter(|pair| !pair.is_empty()).map(move |pair| {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        (part(name), part(value))
    })
}

/// A text without its percent escapes, each of which is undone once.
///
/// Errors: an escape is none, or the bytes are not UTF-8.
pub(super) fn decoded(text: &str) -> Result<Cow<'_, str>, String> {
    let is_escape = |rest: &str| {
        rest.as_bytes().get(..2).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    };
    if !text.split('%').skip(1).all(is_escape) {
        return Err("a percent sign must be followed by two hexadecimal digits".into());
    }
    percent_decode_str(text).decode_utf8().map_err(|_| "must be UTF-8 when it is decoded".into())
}

#[cfg(test)]
mod tests {
    use prost::Message;

    use super::*;
    use crate::gateway::schema::schema;

    /// The request that a URL stands for, as JSON; or its faults.
    fn asked(verb: &str, path: &str, body: &str) -> Result<String, Vec<String>> {
        let schema = schema().unwrap();
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let mut fitting = schema.routes.iter().filter(|route| route.verb == verb);
        let (route, variables) = fitting
            .find_map(|route| route.template.matched(path).map(|found| (route, found)))
            .unwrap();
        let input = schema.rpcs[route.rpc].descriptor.input();
        let read = message(&input, route, &variables, query, body.as_bytes());
        if let (Some(short), Ok(long)) =
            (of_path(route, &variables, query, body.as_bytes()), read.as_ref())
        {
            assert_eq!(short, long.encode_to_vec(), "{verb} {path}");
        }
        let named = |fault: Fault| format!("{}: {}", fault.field, fault.text);
        let message = read.map_err(|faults| faults.into_iter().map(named).collect::<Vec<_>>())?;
        Ok(serde_json::to_string(&message).unwrap())
    }

    #[test]
    fn path_query_and_body_make_one_message() {
        for (verb, path, body, expected) in [
            (
                "GET",
                "/v1/namespaces/a%3Ab/entries/k%2F1/%E2%82%AC?view=ENTRY_VIEW_KEY",
                "",
                r#"{"namespace":"a:b","key":"k/1/€","view":"ENTRY_VIEW_KEY"}"#,
            ),
            (
                "GET",
                "/v1/namespaces/a:watch?keys=x+y&keys=%2B&startVersion=7&progress_interval=3.5s\
                 &include_values=true",
                "",
                r#"{"namespace":"a","keys":["x y","+"],"startVersion":"7","includeValues":true,"progressInterval":"3.500s"}"#,
            ),
            (
                "DELETE",
                "/v1/namespaces/a/entries/k?condition.if_version=3&returnPrevious=true",
                "",
                r#"{"namespace":"a","key":"k","condition":{"ifVersion":"3"},"returnPrevious":true}"#,
            ),
            (
                "PATCH",
                "/v1/namespaces/a?updateMask=description,policy.maxKeys",
                r#"{"description":"d"}"#,
                r#"{"namespace":{"name":"a","description":"d"},"updateMask":"description,policy.maxKeys"}"#,
            ),
            (
                "PUT",
                "/v1/namespaces/a/entries/k",
                r#"{"namespace":"a","value":"AA=="}"#,
                r#"{"namespace":"a","key":"k","value":"AA=="}"#,
            ),
            (
                "GET",
                "/v1/namespaces/a/entries/k?view=1",
                "",
                r#"{"namespace":"a","key":"k","view":"ENTRY_VIEW_KEY"}"#,
            ),
        ] {
            assert_eq!(asked(verb, path, body).as_deref(), Ok(expected), "{verb} {path}");
        }
    }

    #[test]
    fn everything_wrong_is_told_at_once() {
        for (verb, path, body, expected) in [
            (
                "GET",
                "/v1/namespaces/a/entries/%zz?view=NONE&nope=1&key=x&x%=1&view=1",
                "",
                &["key: a percent", "view: ", "nope: there", "key: is given", "query: a percent"][..],
            ),
            ("GET", "/v1/namespaces/%ff/entries/k", "", &["namespace: must be UTF-8"]),
            ("GET", "/v1/namespaces/a/entries/k", "{}", &["body: there must be none"]),
            (
                "DELETE",
                "/v1/namespaces/a/entries/k?condition.ifVersion=3&condition.ifPresent=true\
                 &returnPrevious=1&returnPrevious=true",
                "",
                &["condition.ifPresent: only one of test", "returnPrevious: "],
            ),
            (
                "GET",
                "/v1/namespaces/a/entries/k?view=ENTRY_VIEW_KEY&view=ENTRY_VIEW_KEY",
                "",
                &["view: is given twice"],
            ),
            (
                "PUT",
                "/v1/namespaces/a/entries/k?return_previous=true",
                r#"{"key":"other"}"#,
                &["key: the body says otherwise", "return_previous: is given"],
            ),
            (
                "PATCH",
                "/v1/namespaces/a?namespace.description=x",
                r#"{"descripton":"d","policy":{"x":1}}"#,
                &[
                    "namespace.descripton: ",
                    "namespace.policy.x: ",
                    "namespace.description: is given",
                ],
            ),
        ] {
            let found = asked(verb, path, body).unwrap_err();
            assert_eq!(found.len(), expected.len(), "{verb} {path}: {found:?}");
            for (found, expected) in found.iter().zip(expected) {
                assert!(found.starts_with(expected), "{verb} {path}: {found}");
            }
        }
    }
}
