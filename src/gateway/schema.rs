//! The schema as the gateway needs it: the descriptors of all methods, and their routes.

use std::sync::OnceLock;

use ahash::AHashMap;
use http::{Method, Uri};
use prost::DecodeError;
use prost_reflect::{
    DescriptorError, DescriptorPool, DynamicMessage, FieldDescriptor, MessageDescriptor,
    MethodDescriptor, Value,
};

use super::printer::Printer;
use super::template::Template;
use crate::wire;

/// Why the schema cannot be served. None of this can happen to the schema that is built in.
#[derive(Debug, thiserror::Error)]
pub enum SchemaError {
    /// It is no descriptor set.
    #[error("the schema cannot be read")]
    Unreadable(#[from] DescriptorError),
    /// A further set is none.
    #[error("the schema of a service cannot be read")]
    Undecodable(#[from] DecodeError),
    /// An annotation cannot be served.
    #[error("{method} has an annotation that cannot be served: {text}")]
    Annotation {
        /// The method's full name.
        method: String,
        /// What is wrong with it.
        text: String,
    },
}

/// One method.
#[derive(Debug)]
pub(super) struct Rpc {
    pub(super) descriptor: MethodDescriptor,
    /// The path of its calls, such as "/pykv.v1.KeyValueService/Get".
    pub(super) path: Uri,
}

impl Rpc {
    /// Whether there is one message each way.
    pub(super) fn is_unary(&self) -> bool {
        !self.descriptor.is_client_streaming() && !self.descriptor.is_server_streaming()
    }
}

/// What of a request is in its body, or of a response in its own.
#[derive(Debug)]
pub(super) enum Part {
    /// Nothing.
    Nothing,
    /// The whole message.
    Whole,
    /// One field, which is a message.
    Field(FieldDescriptor),
}

/// One way to call a method over HTTP.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) verb: Method,
    pub(super) template: Template,
    /// Which field each variable of the template sets.
    pub(super) variables: Vec<Vec<FieldDescriptor>>,
    pub(super) body: Part,
    /// The body of the response.
    pub(super) response: Part,
    /// Which of [`Schema::rpcs`].
    pub(super) rpc: usize,
}

/// Everything that can be called.
#[derive(Debug)]
pub(super) struct Schema {
    pub(super) pool: DescriptorPool,
    pub(super) rpcs: Vec<Rpc>,
    pub(super) routes: Vec<Route>,
    /// For answers.
    pub(super) printer: Printer,
    /// Which of [`Schema::rpcs`] has a path.
    by_path: AHashMap<String, usize>,
}

/// The schema that is built in. It is read once.
pub(super) fn schema() -> Result<&'static Schema, SchemaError> {
    static SCHEMA: OnceLock<Schema> = OnceLock::new();
    if let Some(schema) = SCHEMA.get() {
        return Ok(schema);
    }
    let schema = Schema::read()?;
    Ok(SCHEMA.get_or_init(|| schema))
}

impl Schema {
    fn read() -> Result<Schema, SchemaError> {
        let mut pool = DescriptorPool::decode(wire::DESCRIPTORS)?;
        pool.decode_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)?;
        let (rpcs, routes, printer, by_path) = Default::default();
        let mut schema = Schema { pool: pool.clone(), rpcs, routes, printer, by_path };
        for descriptor in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>())
        {
            let method = descriptor.full_name().to_owned();
            schema.add(descriptor).map_err(|text| SchemaError::Annotation { method, text })?;
        }
        Ok(schema)
    }

    /// The method whose calls are at `path`.
    pub(super) fn rpc(&self, path: &str) -> Option<&Rpc> {
        self.by_path.get(path).map(|rpc| &self.rpcs[*rpc])
    }

    /// Whether `path` is that of a call, be it of a method that does not exist.
    pub(super) fn is_call(&self, path: &str) -> bool {
        let service = path.strip_prefix('/').and_then(|path| path.split_once('/'));
        service.is_some_and(|(service, _)| self.pool.get_service_by_name(service).is_some())
    }

    fn add(&mut self, descriptor: MethodDescriptor) -> Result<(), String> {
        let path = format!("/{}/{}", descriptor.parent_service().full_name(), descriptor.name());
        let rpc = self.rpcs.len();
        self.by_path.insert(path.clone(), rpc);
        let path = path.parse().map_err(|_| format!("{path} is no path"))?;
        if let Some(rule) = annotation(&self.pool, &descriptor) {
            self.routes.push(route(&descriptor, &rule, rpc)?);
            for more in list(&rule, "additional_bindings") {
                let more = more.as_message().ok_or("a binding is no rule")?;
                self.routes.push(route(&descriptor, more, rpc)?);
            }
        }
        self.printer.learn(&descriptor.output());
        self.rpcs.push(Rpc { descriptor, path });
        Ok(())
    }
}

/// The value of `google.api.http`.
fn annotation(pool: &DescriptorPool, method: &MethodDescriptor) -> Option<DynamicMessage> {
    let extension = pool.get_extension_by_name("google.api.http")?;
    let options = method.options();
    let rule = options.has_extension(&extension).then(|| options.get_extension(&extension))?;
    rule.as_message().cloned()
}

fn list(message: &DynamicMessage, field: &str) -> Vec<Value> {
    let value = message.get_field_by_name(field);
    value.and_then(|value| value.as_list().map(<[Value]>::to_vec)).unwrap_or_default()
}

fn text(message: &DynamicMessage, field: &str) -> String {
    let value = message.get_field_by_name(field);
    value.and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

fn route(method: &MethodDescriptor, rule: &DynamicMessage, rpc: usize) -> Result<Route, String> {
    let verbs = [
        ("get", Method::GET),
        ("put", Method::PUT),
        ("post", Method::POST),
        ("delete", Method::DELETE),
        ("patch", Method::PATCH),
    ];
    let used = verbs.into_iter().find(|(name, _)| rule.has_field_by_name(name));
    let (name, verb) = used.ok_or("no method of HTTP")?;
    let template = Template::parse(&text(rule, name))?;
    let input = method.input();
    let variables = template.variables().map(|path| field(&input, path));
    Ok(Route {
        verb,
        variables: variables.collect::<Result<_, _>>()?,
        body: part(&input, &text(rule, "body"), Part::Nothing)?,
        response: part(&method.output(), &text(rule, "response_body"), Part::Whole)?,
        template,
        rpc,
    })
}

fn part(message: &MessageDescriptor, name: &str, absent: Part) -> Result<Part, String> {
    match name {
        "" => Ok(absent),
        "*" => Ok(Part::Whole),
        name => match message.get_field_by_name(name) {
            Some(field) if field.kind().as_message().is_some() => Ok(Part::Field(field)),
            Some(_) | None => Err(format!("{} has no message {name}", message.full_name())),
        },
    }
}

/// The fields on the way to a dotted path, the last of which is a single scalar.
fn field(message: &MessageDescriptor, path: &str) -> Result<Vec<FieldDescriptor>, String> {
    let mut fields: Vec<FieldDescriptor> = Vec::new();
    for name in path.split('.') {
        let inside = match fields.last().map(FieldDescriptor::kind) {
            None => message.clone(),
            Some(kind) => kind.as_message().cloned().ok_or(format!("{path} ends too early"))?,
        };
        let field = inside.get_field_by_name(name).ok_or(format!("there is no {path}"))?;
        fields.push(field);
    }
    match fields.last() {
        Some(last) if !last.is_list() && last.kind().as_message().is_none() => Ok(fields),
        Some(_) | None => Err(format!("{path} is not a single value")),
    }
}
