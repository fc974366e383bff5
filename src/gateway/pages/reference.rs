//! The description of the API as a page to read, without a script.

use std::fmt::Write as _;
use std::sync::OnceLock;

use serde_json::Value;

use crate::gateway::openapi;
use crate::gateway::schema::Schema;

/// The page. It is made once.
pub(super) fn page(schema: &'static Schema) -> &'static str {
    static PAGE: OnceLock<String> = OnceLock::new();
    PAGE.get_or_init(|| {
        let document = serde_json::from_str(openapi::document(schema)).unwrap_or_default();
        render(&document)
    })
}

/// One operation with where it is.
struct Operation<'d> {
    path: &'d str,
    method: &'d str,
    said: &'d Value,
}

fn render(document: &Value) -> String {
    let operations: Vec<_> = members(&document["paths"])
        .flat_map(|(path, methods)| {
            let named = members(methods).filter(|(method, _)| *method != "parameters");
            named.map(move |(method, said)| Operation { path, method, said })
        })
        .collect();
    let (mut contents, mut body) = (String::new(), String::new());
    for tag in document["tags"].as_array().into_iter().flatten() {
        let name = text(&tag["name"]);
        let own = operations.iter().filter(|operation| operation.said["tags"][0] == tag["name"]);
        let _ = write!(contents, "<ul><b>{}</b>", escaped(name));
        let _ = write!(body, "<section><h2>{}</h2>", escaped(name));
        paragraphs(&mut body, text(&tag["description"]));
        for operation in own {
            let id = escaped(text(&operation.said["operationId"]));
            let summary = escaped(text(&operation.said["summary"]));
            let _ = write!(contents, "<li><a href=\"#{id}\">{summary}</a></li>");
            describe(&mut body, operation);
        }
        contents.push_str("</ul>");
        body.push_str("</section>");
    }
    let mut about = String::new();
    paragraphs(&mut about, text(&document["info"]["description"]));
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>PyKV API reference</title><link rel=\"icon\" href=\"data:,\">\
         <link rel=\"stylesheet\" href=\"/redoc/reference.css\"></head><body>\
         <h1>PyKV {}</h1>{about}<p><a href=\"/docs\">Try it</a>, or take \
         <a href=\"/openapi.json\">the description for programs</a>.</p>\
         <nav aria-label=\"Operations\">{contents}</nav><main>{body}</main></body></html>\n",
        escaped(text(&document["info"]["version"])),
    )
}

fn describe(body: &mut String, operation: &Operation<'_>) {
    let Operation { path, method, said } = operation;
    let _ = write!(
        body,
        "<article id=\"{}\"><h3><span>{}</span><code>{}</code></h3><p><b>{}</b></p>",
        escaped(text(&said["operationId"])),
        escaped(&method.to_ascii_uppercase()),
        escaped(path),
        escaped(text(&said["summary"])),
    );
    paragraphs(body, text(&said["description"]));
    let parameters = said["parameters"].as_array().into_iter().flatten();
    let parameters = parameters.map(|one| (text(&one["name"]), text(&one["description"])));
    table(body, "Parameter", parameters);
    let fields = &said["requestBody"]["content"]["application/json"]["schema"]["properties"];
    let fields = members(fields).map(|(name, field)| (name, text(&field["description"])));
    table(body, "Field of the body", fields);
    let responses = members(&said["responses"]);
    let responses = responses.map(|(status, one)| match one["$ref"].is_null() {
        true => (status, text(&one["description"])),
        false => (status, "Any other refusal or failure."),
    });
    table(body, "Answer", responses);
    body.push_str("</article>");
}

fn table<'d>(body: &mut String, head: &str, rows: impl Iterator<Item = (&'d str, &'d str)>) {
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return;
    }
    let _ = write!(body, "<table><tr><th>{head}</th><th>Meaning</th></tr>");
    for (name, meaning) in rows {
        let (name, meaning) = (escaped(name), escaped(meaning));
        let _ = write!(body, "<tr><td><code>{name}</code></td><td>{meaning}</td></tr>");
    }
    body.push_str("</table>");
}

fn paragraphs(body: &mut String, said: &str) {
    for paragraph in said.split("\n\n").filter(|paragraph| !paragraph.is_empty()) {
        let _ = write!(body, "<p>{}</p>", escaped(paragraph));
    }
}

fn members(value: &Value) -> impl Iterator<Item = (&str, &Value)> {
    value.as_object().into_iter().flatten().map(|(name, inside)| (name.as_str(), inside))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn escaped(said: &str) -> String {
    let mut safe = String::with_capacity(said.len());
    for letter in said.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            letter => safe.push(letter),
        }
    }
    safe
}
