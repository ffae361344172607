//! Requests to any HTTP API: checked, and shown.

use std::collections::BTreeMap;

use haul_proto::v1;
use http::HeaderName;

use super::{Defaults, Faults};
use crate::{
    connector::{self, TEMPLATE_BYTES_MAX},
    domain::{
        request::Method,
        spec::{HttpFetch, Placement, Statuses},
    },
};

const URL_TEMPLATE: &str = "spec.http_fetch.url_template";
const HEADERS_MAX: usize = 64;
const STATUSES_MAX: usize = 100;
const DATASET: &str = "responses";
/// What is no caller's to say, with the way out.
const RESERVED_HEADERS: [(&str, &str); 13] = [
    ("host", "it is that of the URL"),
    ("content-length", "a GET or HEAD has no body"),
    ("user-agent", "set spec.fetch.user_agent"),
    ("accept-encoding", "the server asks for what it can unpack"),
    ("range", "replies are had whole"),
    ("connection", HOP_BY_HOP),
    ("keep-alive", HOP_BY_HOP),
    ("proxy-connection", HOP_BY_HOP),
    ("proxy-authorization", HOP_BY_HOP),
    ("te", HOP_BY_HOP),
    ("trailer", HOP_BY_HOP),
    ("transfer-encoding", HOP_BY_HOP),
    ("upgrade", HOP_BY_HOP),
];
const HOP_BY_HOP: &str = "it is between two hops of a connection";

pub(super) fn parse(given: v1::HttpFetch, defaults: &Defaults, faults: &mut Faults) -> HttpFetch {
    use v1::http_fetch::{Method as Given, Output};
    let method = match Given::try_from(given.method) {
        Ok(Given::Unspecified | Given::Get) => Method::Get,
        Ok(Given::Head) => Method::Head,
        Err(_) => {
            let problem = format!("{} is no method: METHOD_GET or METHOD_HEAD", given.method);
            faults.add("spec.http_fetch.method", problem);
            Method::Get
        }
    };
    if given.headers.len() > HEADERS_MAX {
        let problem = format!("has {} entries, more than {HEADERS_MAX}", given.headers.len());
        faults.add("spec.http_fetch.headers", problem);
    }
    let mut headers = BTreeMap::new();
    for (name, template) in given.headers {
        let field = format!("spec.http_fetch.headers[{name}]");
        template_size(&field, &template, faults);
        let reserved = |name: &str| RESERVED_HEADERS.into_iter().find(|(reserved, _)| *reserved == name);
        match HeaderName::try_from(&name).map(|name| name.as_str().to_owned()) {
            Err(_) => faults.add(field, format!("{name:?} is no header name")),
            Ok(name) => match reserved(&name) {
                Some((_, why)) => faults.add(field, format!("{name} is set by the server: {why}")),
                None if headers.insert(name, template).is_some() => {
                    faults.add(field, "is there twice: names differ in more than upper and lower case");
                }
                None => {}
            },
        }
    }
    let mut accept_statuses = Vec::new();
    for (n, text) in given.accept_statuses.iter().enumerate() {
        let field = format!("spec.http_fetch.accept_statuses[{n}]");
        match Statuses::parse(text) {
            _ if text == "429" => faults.add(field, "\"429\" asks for fewer requests and is never a success"),
            Some(statuses) => accept_statuses.push(statuses),
            None => faults.add(field, format!("{text:?} is not {}", Statuses::PATTERN)),
        }
    }
    if given.accept_statuses.len() > STATUSES_MAX {
        let problem = format!("has {} entries, more than {STATUSES_MAX}", given.accept_statuses.len());
        faults.add("spec.http_fetch.accept_statuses", problem);
    }
    if accept_statuses.is_empty() {
        accept_statuses.push(Statuses::SUCCESS);
    }
    let placement = match given.output {
        None => Placement::Store,
        Some(Output::Body(body)) => placement(&body, faults),
    };
    let http = HttpFetch { method, url_template: given.url_template, headers, accept_statuses, placement };
    url_template(&http, defaults, faults);
    http
}

fn placement(body: &v1::BodyOutput, faults: &mut Faults) -> Placement {
    use v1::body_output::Placement as Given;
    if !["", DATASET].contains(&body.dataset.as_str()) {
        let problem =
            format!("{:?} is not {DATASET:?}, the only dataset of bodies: leave it out", body.dataset);
        faults.add("spec.http_fetch.body.dataset", problem);
    }
    match Given::try_from(body.placement) {
        Ok(Given::Unspecified | Given::Store) => Placement::Store,
        Ok(Given::Discard) => Placement::Discard,
        Err(_) => {
            let problem = format!("{} is no placement: PLACEMENT_STORE or PLACEMENT_DISCARD", body.placement);
            faults.add("spec.http_fetch.body.placement", problem);
            Placement::Store
        }
    }
}

fn template_size(field: &str, template: &str, faults: &mut Faults) {
    if template.len() > TEMPLATE_BYTES_MAX {
        faults.add(field, format!("has {} bytes, more than {TEMPLATE_BYTES_MAX}", template.len()));
    }
}

/// The URL's template, and that all of them compile.
fn url_template(http: &HttpFetch, defaults: &Defaults, faults: &mut Faults) {
    let template = http.url_template.trim();
    template_size(URL_TEMPLATE, template, faults);
    if template.is_empty() {
        faults.add(URL_TEMPLATE, "is required, such as \"https://api.example.com/v1/things/{{ item.key }}\"");
        return;
    }
    if let Some((name, problem)) = connector::HttpFetch::bad_template(http) {
        faults.add(format!("spec.http_fetch.{name}"), problem);
        return;
    }
    match connector::fixed_origin(template) {
        Ok(Some(origin)) => faults.target(URL_TEMPLATE, &origin.to_string(), &defaults.outbound),
        // It is each item's own.
        Ok(None) => {}
        Err(_) => faults.add(URL_TEMPLATE, format!("{template:?} makes no absolute http or https URL")),
    }
}

pub(super) fn render(http: &HttpFetch) -> v1::HttpFetch {
    let method = match http.method {
        Method::Get => v1::http_fetch::Method::Get,
        Method::Head => v1::http_fetch::Method::Head,
    };
    let placement = match http.placement {
        Placement::Store => v1::body_output::Placement::Store,
        Placement::Discard => v1::body_output::Placement::Discard,
    };
    let body = v1::BodyOutput { dataset: DATASET.to_owned(), placement: placement.into() };
    v1::HttpFetch {
        method: method.into(),
        url_template: http.url_template.clone(),
        headers: http.headers.clone().into_iter().collect(),
        accept_statuses: http.accept_statuses.iter().map(ToString::to_string).collect(),
        output: Some(v1::http_fetch::Output::Body(body)),
    }
}
