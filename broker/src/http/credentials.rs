//! Finds the credential of a request.
//!
//! A request has at most one: `Authorization: Bearer`, or `ticket=` in the query, or a cookie if the query has `credentials=cookie`. A
//! cookie is used only if the URL asks for it, because browsers add cookies to the requests of foreign pages. Without any of these, the
//! client certificate is used.

use eventcast_crds::config::Access;
use eventcast_wire::cursor::Cursor;
use http::{HeaderMap, header, request::Parts};

use super::{
    cors,
    params::known,
    problem::{Challenge, Kind, Problem},
};
use crate::{
    access::{Credential, Denied, Invalid, allowed_origin},
    tls::ClientCertificate,
};

/// Bytes of a credential.
const MAX_CREDENTIAL_BYTES: usize = 8 << 10;

/// The credentials that were found in the head of a request and in its connection.
#[derive(Default)]
pub(super) struct Presented<'a> {
    bearer: Option<String>,
    ticket: Option<String>,
    has_cursor: bool,
    cookie: Option<String>,
    certificate: Option<&'a ClientCertificate>,
}

/// Why a request has no credential that could be verified.
pub(super) enum Rejected {
    /// The request is invalid, whatever the credential.
    Problem(Problem),
    /// A credential is missing or malformed.
    Denied(Denied),
}

impl From<Problem> for Rejected {
    fn from(problem: Problem) -> Self {
        Self::Problem(problem)
    }
}

impl From<Invalid> for Rejected {
    fn from(invalid: Invalid) -> Self {
        Self::Denied(invalid.into())
    }
}

impl<'a> Presented<'a> {
    /// Reads the credential of a request with `head`, on a connection whose client has presented `certificate`.
    pub(super) fn of(
        access: &Access,
        head: &Parts,
        certificate: Option<&'a ClientCertificate>,
    ) -> Result<Self, Rejected> {
        let last_event_id = head.headers.get("last-event-id").and_then(|value| value.to_str().ok());
        let mut found = Self {
            bearer: bearer(&head.headers)?,
            has_cursor: last_event_id.is_some_and(is_position),
            ..Self::default()
        };
        let query = form_urlencoded::parse(head.uri.query().unwrap_or_default().as_bytes());
        for (name, value) in query {
            match &*name {
                "ticket" if found.ticket.is_some() => return Err(two_credentials().into()),
                "access_token" | "authorization" => {
                    let detail = "A token in the URL is not accepted, because URLs are logged. Send Authorization: Bearer, or \
                         take a ticket (POST …/tickets) and send it as ticket=.";
                    return Err(Invalid::new("token-in-url", detail).into());
                }
                "ticket" => found.ticket = Some(value.into_owned()),
                "credentials" if value != "cookie" => {
                    return Err(Problem::field("credentials", "credentials must be cookie.").into());
                }
                "credentials" => {
                    allow_page(access, head, "A cookie")?;
                    found.cookie = Some(cookie(&head.headers, &access.cookie.name)?);
                }
                name if name == "from" || known::is_cursor(name) => {
                    found.has_cursor |= is_position(&value);
                }
                _ => {}
            }
        }
        // A header takes precedence over a cookie, which the browser adds by itself. A ticket together with either is a mistake.
        if found.bearer.is_some() && found.ticket.is_some()
            || found.ticket.is_some() && found.cookie.is_some()
        {
            return Err(two_credentials().into());
        }
        for credential in [&found.bearer, &found.ticket, &found.cookie].into_iter().flatten() {
            if credential.len() > MAX_CREDENTIAL_BYTES {
                return Err(Invalid::new("form", "The credential is longer than 8 KiB.").into());
            }
        }
        // A browser presents its certificate for every page, as it sends cookies. Channels without rules for certificates ignore it.
        if let Some(certificate) = certificate
            && !access.certificates.is_empty()
            && matches!(found.credential(), Credential::None)
        {
            if is_of_page(&head.headers) {
                allow_page(access, head, "A certificate")?;
            }
            found.certificate = Some(certificate);
        }
        Ok(found)
    }

    pub(super) fn credential(&self) -> Credential<'_> {
        match (&self.bearer, &self.ticket, &self.cookie) {
            (Some(token), _, _) => Credential::Bearer(token),
            (None, Some(ticket), _) => {
                Credential::Ticket { text: ticket, has_cursor: self.has_cursor }
            }
            (None, None, Some(cookie)) => Credential::Cookie(cookie),
            (None, None, None) => {
                self.certificate.map_or(Credential::None, Credential::Certificate)
            }
        }
    }
}

fn is_position(text: &str) -> bool {
    text.trim().parse::<Cursor>().is_ok()
}

fn two_credentials() -> Problem {
    let detail = "The request has more than one credential. Send one: Authorization, or ticket= in the query.";
    Problem::field("Authorization", detail).close()
}

/// The token of `Authorization: Bearer` (RFC 6750, section 2.1). The scheme is case-insensitive.
fn bearer(headers: &HeaderMap) -> Result<Option<String>, Rejected> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(two_credentials().into());
    }
    let form = || Invalid::new("form", "Authorization must be: Bearer, one space, and a token.");
    let text = value.to_str().map_err(|_| form())?;
    let (scheme, token) = text.split_once(' ').ok_or_else(form)?;
    let token = token.trim_matches(' ');
    if !scheme.eq_ignore_ascii_case("bearer") {
        return Err(Invalid::new("scheme", "Only the scheme Bearer is accepted.").into());
    }
    if token.is_empty() || !token.bytes().all(|b| b.is_ascii_graphic() && b != b',') {
        return Err(form().into());
    }
    Ok(Some(token.to_owned()))
}

/// Whether a page in a browser makes the request: browsers add one of these headers to every request of a page.
fn is_of_page(headers: &HeaderMap) -> bool {
    ["origin", "sec-fetch-site", "sec-fetch-mode"].iter().any(|name| headers.contains_key(*name))
}

/// Checks that the page that makes the request may use `what`, which the browser adds by itself.
fn allow_page(access: &Access, head: &Parts, what: &str) -> Result<(), Rejected> {
    let text = |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let refused = |why: &str| {
        let detail = format!("{what} is not accepted from this page: {why}.");
        Invalid::new("origin", detail)
    };
    // A page may cause navigation and loads of images, forms and scripts without permission by CORS; EventSource and fetch require it.
    if matches!(text("sec-fetch-mode"), Some("navigate" | "no-cors" | "websocket" | "?")) {
        return Err(refused("use EventSource or fetch with CORS").into());
    }
    match text("origin") {
        Some(origin) if cors::is_own(&head.uri, &head.headers, origin) => Ok(()),
        Some(origin) if allowed_origin(access, origin).is_some_and(|allowed| allowed != "*") => {
            Ok(())
        }
        Some(_) => Err(refused("add its origin to access.allowedOrigins of the channel").into()),
        None if !head.method.is_safe() => Err(refused("the request has no Origin").into()),
        None if matches!(text("sec-fetch-site"), None | Some("same-origin" | "none")) => Ok(()),
        None => Err(refused("it is on another site").into()),
    }
}

/// The value of the cookie `name`. Names are compared byte by byte: more lenient parsing lets another host set one that passes for it.
fn cookie(headers: &HeaderMap, name: &str) -> Result<String, Invalid> {
    let mut found = None;
    for line in headers.get_all(header::COOKIE) {
        let pairs = line.as_bytes().split(|b| *b == b';');
        for pair in pairs {
            let pair = pair.trim_ascii();
            let Some(at) = pair.iter().position(|b| *b == b'=') else { continue };
            if &pair[..at] != name.as_bytes() {
                continue;
            }
            if found.is_some() {
                let detail = "The cookie was sent more than once, so another host may have set it. Delete the cookies of this site.";
                return Err(Invalid::new("cookie-twice", detail));
            }
            found = Some(pair[at + 1..].to_vec());
        }
    }
    let value = found.filter(|value| !value.is_empty()).ok_or_else(|| {
        Invalid::new(
            "no-cookie",
            "The URL has credentials=cookie, but the request has no such cookie. Log in again.",
        )
    })?;
    let value = String::from_utf8(value).ok().filter(|v| v.bytes().all(|b| b.is_ascii_graphic()));
    value.ok_or_else(|| Invalid::new("form", "The cookie is not a token."))
}

/// The problem of a request without a grant.
pub(super) fn problem(denied: &Denied) -> Problem {
    match denied {
        Denied::Invalid(invalid) => Problem::new(Kind::INVALID_CREDENTIAL, invalid.detail.clone())
            .with("check", invalid.check)
            .challenge(Challenge::InvalidToken),
        Denied::Unavailable(what) => {
            let detail = format!(
                "The credential cannot be checked at the moment: {what}. Retry after Retry-After."
            );
            let wait = std::time::Duration::from_millis(fastrand::u64(2000..6000));
            Problem::new(Kind::UNAVAILABLE, detail).retry_after(wait)
        }
        Denied::TooMany(wait) => {
            let detail =
                "Too many credentials of this client were not accepted. Retry after Retry-After.";
            Problem::new(Kind::TOO_MANY_REFUSALS, detail).retry_after(*wait)
        }
    }
}
