//! The cookie and the crumb that browsers and some libraries fetch before they ask for charts. No chart needs them.

use http::header::{self, HeaderMap, HeaderValue};
use http::{Response, StatusCode};

use crate::answer::whole;
use crate::body::SimBody;
use crate::hash::{Dice, Hash};

pub(crate) const COOKIE_PATH: &str = "/";
pub(crate) const CRUMB_PATH: &str = "/v1/test/getcrumb";
const COOKIE: &str = "A3=d=simulated&S=simulated";
const CRUMB_LENGTH: usize = 11;
const CRUMB_LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789./";

/// A page that is not there, and a cookie all the same.
pub(crate) fn cookie() -> Response<SimBody> {
    let mut response =
        whole(StatusCode::NOT_FOUND, "text/html", "<html><body>Not Found on Accelerator</body></html>");
    let value =
        const { HeaderValue::from_static("A3=d=simulated&S=simulated; Max-Age=31557600; Path=/; HttpOnly") };
    response.headers_mut().insert(header::SET_COOKIE, value);
    response
}

/// The crumb, for who has the cookie.
pub(crate) fn crumb(seed: u64, headers: &HeaderMap) -> Response<SimBody> {
    let told = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    if !told.flat_map(|cookies| cookies.split("; ")).any(|cookie| cookie == COOKIE) {
        let body =
            r#"{"finance":{"result":null,"error":{"code":"Unauthorized","description":"Invalid Cookie"}}}"#;
        return whole(StatusCode::UNAUTHORIZED, "application/json", body);
    }
    let mut dice = Dice::new(Hash::new(seed).with_text("crumb"));
    let crumb: Vec<u8> = (0..CRUMB_LENGTH).map(|_| dice.pick(CRUMB_LETTERS)).collect();
    whole(StatusCode::OK, "text/plain", crumb)
}
