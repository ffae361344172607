//! Any HTTP API: a request made of templates, and its reply as it came.
//!
//! Nothing in a request comes from anywhere but the spec and the item, so that the same item of the same spec sends the
//! same request whenever it is sent.

mod template;

use chrono::{DateTime, SecondsFormat, Utc};
use url::Url;

use self::template::{Templates, URL};
use super::{Connector, Origin};
use crate::domain::{
    datum::{Records, StoredResponse},
    failure::{Failure, FailureClass},
    item::Subject,
    request::{Fault, Method, Reading, Request, Response, URL_BYTES_MAX},
    spec::{self, BatchSpec, FetchPolicy, Placement, Statuses},
};

/// Largest body that goes into the dataset.
pub const STORED_BODY_BYTES_MAX: u64 = 1 << 20;
/// Largest template.
pub const TEMPLATE_BYTES_MAX: usize = 64 * 1024;
/// Largest value of a header.
const HEADER_BYTES_MAX: usize = 8 * 1024;
const PUSH_BACK: u16 = 429;

/// An HTTP API with a batch's settings.
#[derive(Debug)]
pub struct HttpFetch {
    origin: Option<Origin>,
    /// Compiled once. Or what is wrong with them, where another build took them.
    templates: Result<Templates, String>,
    /// Names of headers, each with the name of its template.
    headers: Vec<(String, String)>,
    method: Method,
    accepted: Vec<Statuses>,
    placement: Placement,
    reading: Reading,
    as_of: DateTime<Utc>,
}

impl HttpFetch {
    /// The connector of these settings in this spec.
    pub fn new(settings: &spec::HttpFetch, spec: &BatchSpec) -> Self {
        let reading = match settings.placement {
            Placement::Store => Reading::UpTo(STORED_BODY_BYTES_MAX),
            // A body that is kept must be there.
            Placement::Discard if !spec.fetch.keep_bodies.is_zero() => Reading::Whole,
            Placement::Discard => Reading::Digest,
        };
        let mut templates = compiled(settings).map_err(|(name, problem)| format!("{name}: {problem}"));
        if let Ok(templates) = &mut templates {
            templates.know("as_of", spec.as_of.time.to_rfc3339_opts(SecondsFormat::AutoSi, true));
            templates.know("as_of_date", spec.as_of.date().to_string());
            templates.know("batch", template::batch(&spec.display_name, &spec.batch_type, &spec.labels));
        }
        Self {
            origin: fixed_origin(&settings.url_template).unwrap_or(None),
            templates,
            headers: settings.headers.keys().map(|name| (name.clone(), header(name))).collect(),
            method: settings.method,
            accepted: settings.accept_statuses.clone(),
            placement: settings.placement,
            reading,
            as_of: spec.as_of.time,
        }
    }

    /// The first template that does not compile, and why.
    pub fn bad_template(settings: &spec::HttpFetch) -> Option<(String, String)> {
        compiled(settings).err()
    }

    fn accepts(&self, status: u16) -> bool {
        status != PUSH_BACK && self.accepted.iter().any(|accepted| accepted.has(status))
    }
}

/// The origin of every request that a template makes, where it is written in it. Fails where no item can make it one.
pub fn fixed_origin(url_template: &str) -> Result<Option<Origin>, NoOrigin> {
    let begin = ["{{", "{%", "{#"].iter().filter_map(|mark| url_template.find(mark)).min();
    let literal = url_template[..begin.unwrap_or(url_template.len())].trim();
    let lower = literal.to_ascii_lowercase();
    let open = |scheme: &&str| begin.is_some() && scheme.starts_with(&lower);
    if ["http://", "https://"].iter().any(open) {
        return Ok(None);
    }
    let (scheme, rest) = literal.split_once("://").ok_or(NoOrigin)?;
    let end = rest.find(['/', '?', '#']);
    let origin = Origin::of_url(&format!("{scheme}://{}", &rest[..end.unwrap_or(rest.len())]));
    // What follows may belong to the host.
    let is_open =
        end.is_none() && begin.is_some() && matches!(lower.split_once(':'), Some(("http" | "https", _)));
    if is_open { Ok(None) } else { origin.ok_or(NoOrigin).map(Some) }
}

/// What a template makes is no absolute http or https URL, whatever the item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoOrigin;

/// The name of a header's template.
fn header(name: &str) -> String {
    format!("headers[{name}]")
}

fn compiled(settings: &spec::HttpFetch) -> Result<Templates, (String, String)> {
    let mut templates = Templates::new();
    let headers = settings.headers.iter().map(|(name, source)| (header(name), source));
    for (name, source) in [(URL.to_owned(), &settings.url_template)].into_iter().chain(headers) {
        templates.add(name.clone(), source).map_err(|problem| (name, problem))?;
    }
    Ok(templates)
}

fn refuse(reason: &str, message: &str) -> Failure {
    Failure::new(FailureClass::Permanent, reason, message)
}

impl Connector for HttpFetch {
    fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    fn request(&self, item: Subject<'_>) -> Result<Request, Failure> {
        let failed = |problem: &str| refuse("TEMPLATE_FAILED", problem);
        let templates = self.templates.as_ref().map_err(|problem| failed(problem))?;
        let context = template::item(item).map_err(|problem| failed(&problem))?;
        let url = templates.render(URL, &context, URL_BYTES_MAX).map_err(|problem| failed(&problem))?;
        let url = url.trim();
        if let Some(fault) = url_fault(url) {
            return Err(refuse("INVALID_URL", &format!("{url:?} {fault}")));
        }
        let mut headers = Vec::with_capacity(self.headers.len());
        for (name, template) in &self.headers {
            let value =
                templates.render(template, &context, HEADER_BYTES_MAX).map_err(|problem| failed(&problem))?;
            let value = value.trim();
            if !value.bytes().all(|b| b == b' ' || b.is_ascii_graphic()) {
                return Err(failed(&format!(
                    "{template}: {value:?} is not of visible ASCII characters alone"
                )));
            }
            headers.push((name.clone(), value.to_owned()));
        }
        let (method, reading) = (self.method, self.reading);
        Ok(Request { method, url: url.to_owned(), accept: "*/*", headers, part: None, reading })
    }

    fn advice(&self, _: &FetchPolicy, _: i64, _: DateTime<Utc>) -> Vec<String> {
        Vec::new()
    }

    fn decode(&self, _: Subject<'_>, request: &Request, response: &Response) -> Result<Records, Fault> {
        if !self.accepts(response.status) {
            return Err(Fault::Status);
        }
        let digest = response.digest();
        let zstd = match self.placement {
            Placement::Discard => None,
            // A kept body of another batch may be larger.
            Placement::Store if digest.bytes > STORED_BODY_BYTES_MAX => {
                return Err(Fault::TooLarge(STORED_BODY_BYTES_MAX));
            }
            Placement::Store => zstd::bulk::compress(&response.body, zstd::DEFAULT_COMPRESSION_LEVEL).ok(),
        };
        Ok(Records::Response(Box::new(StoredResponse {
            as_of: self.as_of,
            method: request.method,
            url: request.url.clone(),
            http_status: response.status,
            content_type: response.content_type.clone(),
            size_bytes: digest.bytes as i64,
            sha256: digest.sha256,
            zstd,
        })))
    }
}

/// Why a rendered text is no URL that is asked for, in words that follow it.
fn url_fault(text: &str) -> Option<&'static str> {
    if Origin::of_url(text).is_none() {
        return Some("is no absolute http or https URL; the filter safe leaves a value as it is");
    }
    let path = text.split(['?', '#']).next().unwrap_or_default();
    // A URL parser would take them for steps in the path, encoded or not.
    let is_step =
        |segment: &str| matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..");
    if path.split('/').any(is_step) {
        return Some("has a step \".\" or \"..\" in its path, which would lead elsewhere");
    }
    let has_user = Url::parse(text).is_ok_and(|url| !url.username().is_empty() || url.password().is_some());
    has_user.then_some("has a user name or password in it")
}

#[cfg(test)]
mod tests;
