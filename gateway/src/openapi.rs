//! Routes with their description, and the OpenAPI 3.1 document made of them.

use std::collections::BTreeMap;

use axum::handler::Handler;
use axum::routing::{MethodRouter, delete, get, post};
use schemars::JsonSchema;
use schemars::generate::{SchemaGenerator, SchemaSettings};
use serde_json::{Map, Value, json};
use sluice_proto::error::{ApiError, ErrorCode};

use crate::app::App;
use crate::routes;

/// Codes that every route can answer with.
const ALWAYS: [ErrorCode; 6] = [
    ErrorCode::ForbiddenOrigin,
    ErrorCode::Overloaded,
    ErrorCode::Internal,
    ErrorCode::DatabaseUnavailable,
    ErrorCode::NatsUnavailable,
    ErrorCode::CoordinatorUnavailable,
];

type Schema = fn(&mut SchemaGenerator) -> schemars::Schema;

/// One route: what it does and what it says about itself.
pub(crate) struct Route {
    pub(crate) path: &'static str,
    pub(crate) handler: MethodRouter<App>,
    /// Whether it only reads, and belongs to the state service.
    pub(crate) on_state_address: bool,
    method: &'static str,
    id: &'static str,
    summary: &'static str,
    query: Vec<Parameter>,
    request: Option<Body>,
    responses: Vec<(u16, Body)>,
    failures: Vec<ErrorCode>,
}

struct Parameter {
    name: &'static str,
    about: &'static str,
    schema: Schema,
}

struct Body {
    media_type: &'static str,
    schema: Schema,
    example: Option<&'static str>,
}

impl Route {
    pub(crate) fn get<T: 'static>(path: &'static str, handler: impl Handler<T, App>) -> Self {
        Self::new("get", path, get(handler))
    }

    pub(crate) fn post<T: 'static>(path: &'static str, handler: impl Handler<T, App>) -> Self {
        Self::new("post", path, post(handler))
    }

    pub(crate) fn delete<T: 'static>(path: &'static str, handler: impl Handler<T, App>) -> Self {
        Self::new("delete", path, delete(handler))
    }

    fn new(method: &'static str, path: &'static str, handler: MethodRouter<App>) -> Self {
        Self {
            path,
            handler,
            on_state_address: false,
            method,
            id: "",
            summary: "",
            query: Vec::new(),
            request: None,
            responses: Vec::new(),
            failures: Vec::new(),
        }
    }

    pub(crate) fn about(self, id: &'static str, summary: &'static str) -> Self {
        Self { id, summary, ..self }
    }

    pub(crate) fn also_on_state_address(self) -> Self {
        Self { on_state_address: true, ..self }
    }

    pub(crate) fn query<T: JsonSchema>(mut self, name: &'static str, about: &'static str) -> Self {
        self.query.push(Parameter { name, about, schema: SchemaGenerator::subschema_for::<T> });
        self
    }

    pub(crate) fn takes<T: JsonSchema>(self, example: &'static str) -> Self {
        Self { request: Some(Body::json::<T>(Some(example))), ..self }
            .fails(&[ErrorCode::BodyTooLarge, ErrorCode::UnsupportedMediaType])
    }

    pub(crate) fn gives<T: JsonSchema>(mut self, example: &'static str) -> Self {
        self.responses.push((200, Body::json::<T>(Some(example))));
        self
    }

    pub(crate) fn gives_array_of<T: JsonSchema>(mut self) -> Self {
        self.responses.push((200, Body::json::<Vec<T>>(None)));
        self
    }

    pub(crate) fn gives_text(mut self) -> Self {
        let body = Body { media_type: "text/plain", ..Body::json::<String>(None) };
        self.responses.push((200, body));
        self
    }

    /// A body of its own for a status that is no success.
    pub(crate) fn gives_instead<T: JsonSchema>(mut self, status: u16) -> Self {
        self.responses.push((status, Body::json::<T>(None)));
        self
    }

    pub(crate) fn fails(mut self, codes: &[ErrorCode]) -> Self {
        self.failures.extend(codes);
        self
    }
}

impl Body {
    fn json<T: JsonSchema>(example: Option<&'static str>) -> Self {
        Self {
            media_type: "application/json",
            schema: SchemaGenerator::subschema_for::<T>,
            example,
        }
    }

    fn content(&self, schemas: &mut SchemaGenerator) -> Value {
        let mut content = json!({"schema": (self.schema)(schemas)});
        if let Some(example) =
            self.example.and_then(|text| serde_json::from_str::<Value>(text).ok())
        {
            content["example"] = example;
        }
        json!({self.media_type: content})
    }
}

/// The whole document. The types of `proto` are the only source of its schemas.
#[must_use]
pub fn document() -> Value {
    let mut schemas = Schemas::new();
    let mut paths = Map::new();
    for route in routes::all() {
        let path = paths.entry(route.path).or_insert_with(|| json!({}));
        path[route.method] = operation(&route, &mut schemas);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Sluice",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "Runs declarative workflows through agents, with people at the gates. \
                Every failure is {\"detail\", \"code\", \"errors\"}; every answer carries X-Request-Id.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {"schemas": schemas.into_components()},
    })
}

/// What is taken is described as leniently as it is read, what is given as strictly as it is
/// written; so there are two generators, whose definitions go to one place.
struct Schemas {
    taken: SchemaGenerator,
    given: SchemaGenerator,
}

impl Schemas {
    fn new() -> Self {
        let settings = || {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.definitions_path = "/components/schemas".into();
                settings.meta_schema = None;
            })
        };
        Self {
            taken: settings().for_deserialize().into_generator(),
            given: settings().for_serialize().into_generator(),
        }
    }

    fn into_components(mut self) -> BTreeMap<String, Value> {
        let taken = self.taken.take_definitions(true);
        taken.into_iter().chain(self.given.take_definitions(true)).collect()
    }
}

fn operation(route: &Route, schemas: &mut Schemas) -> Value {
    let mut operation = json!({
        "operationId": route.id,
        "summary": route.summary,
        "responses": responses(route, schemas),
    });
    let parameters = parameters(route, schemas);
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some(body) = &route.request {
        operation["requestBody"] =
            json!({"required": true, "content": body.content(&mut schemas.taken)});
    }
    operation
}

fn parameters(route: &Route, schemas: &mut Schemas) -> Vec<Value> {
    let in_path =
        route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut all: Vec<Value> = in_path
        .map(|name| json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}))
        .collect();
    all.extend(route.query.iter().map(|parameter| {
        let schema = (parameter.schema)(&mut schemas.taken);
        json!({"name": parameter.name, "in": "query", "description": parameter.about, "schema": schema})
    }));
    all
}

fn responses(route: &Route, schemas: &mut Schemas) -> BTreeMap<String, Value> {
    let mut codes: BTreeMap<u16, Vec<String>> = BTreeMap::new();
    for code in route.failures.iter().chain(&ALWAYS) {
        let name =
            serde_json::to_value(code).ok().and_then(|name| name.as_str().map(str::to_owned));
        codes.entry(code.http_status()).or_default().extend(name);
    }
    let failure = |codes: Vec<String>, schemas: &mut Schemas| {
        let content = Body::json::<ApiError>(None).content(&mut schemas.given);
        json!({"description": codes.join(", "), "content": content})
    };
    let mut all: BTreeMap<String, Value> = codes
        .into_iter()
        .map(|(status, codes)| (status.to_string(), failure(codes, schemas)))
        .collect();
    for (status, body) in &route.responses {
        let description = if *status == 200 { "OK" } else { "Something is away." };
        let content = body.content(&mut schemas.given);
        all.insert(status.to_string(), json!({"description": description, "content": content}));
    }
    all
}
