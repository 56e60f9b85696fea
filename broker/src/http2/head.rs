//! Request heads from decoded header blocks, and response heads as header blocks (RFC 9113, section 8; RFC 7541).

use h2::frame::Pseudo;
use http::{HeaderMap, HeaderName, Method, Request, StatusCode, Uri, Version, header, uri};

/// The request violates the rules of HTTP: its stream is reset.
#[derive(Debug, thiserror::Error)]
#[error("malformed request")]
pub(super) struct Malformed;

/// The head of a request (RFC 9113, section 8.3.1), and the announced length of its body. `ends`: there is no body.
pub(super) fn request(
    pseudo: Pseudo,
    fields: HeaderMap,
    ends: bool,
) -> Result<(Request<()>, Option<u64>), Malformed> {
    let length = content_length(&fields)?;
    if ends && length.is_some_and(|length| length > 0) {
        return Err(Malformed);
    }
    let method = pseudo.method.ok_or(Malformed)?;
    let is_connect = method == Method::CONNECT;
    let without_path = pseudo.scheme.is_none() && pseudo.path.is_none();
    if pseudo.status.is_some() || pseudo.protocol.is_some() || is_connect != without_path {
        return Err(Malformed);
    }
    let mut parts = uri::Parts::default();
    if let Some(authority) = &pseudo.authority {
        parts.authority = Some(authority.parse().map_err(|_| Malformed)?);
    }
    if let Some(scheme) = &pseudo.scheme {
        let scheme: uri::Scheme = scheme.parse().map_err(|_| Malformed)?;
        parts.scheme = parts.authority.is_some().then_some(scheme);
    }
    if !is_connect {
        let path = pseudo.path.as_ref().filter(|path| !path.is_empty()).ok_or(Malformed)?;
        parts.path_and_query = Some(path.parse().map_err(|_| Malformed)?);
    }
    let mut request = Request::new(());
    *request.method_mut() = method;
    *request.uri_mut() = Uri::from_parts(parts).map_err(|_| Malformed)?;
    *request.version_mut() = Version::HTTP_2;
    *request.headers_mut() = fields;
    Ok((request, length))
}

/// The announced length of a request's body.
fn content_length(headers: &HeaderMap) -> Result<Option<u64>, Malformed> {
    let mut lengths = headers.get_all(header::CONTENT_LENGTH).iter();
    let Some(first) = lengths.next() else { return Ok(None) };
    if lengths.any(|other| other != first) {
        return Err(Malformed);
    }
    let digits = first.to_str().map_err(|_| Malformed)?;
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return Err(Malformed);
    }
    digits.parse().map(Some).map_err(|_| Malformed)
}

/// Fields of HTTP/1.1 that HTTP/2 does not have (RFC 9113, section 8.2.2).
const CONNECTION_FIELDS: [HeaderName; 3] =
    [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE];

/// Sets the size of the dynamic table to 0, because we use none. Must precede the first block, and the first one after the client has
/// changed the maximum size (RFC 7541, section 4.2).
pub(super) const NO_DYNAMIC_TABLE: u8 = 0x20;

/// Encodes the head of a response, without stateful compression.
pub(super) fn response(out: &mut Vec<u8>, status: StatusCode, headers: &HeaderMap) {
    if status == StatusCode::OK {
        out.push(0x88); // the whole field, from the static table
    } else {
        out.push(0x08); // the name `:status`, from the static table
        string(out, status.as_str().as_bytes());
    }
    for (name, value) in headers {
        if !CONNECTION_FIELDS.contains(name) {
            out.push(0);
            string(out, name.as_str().as_bytes());
            string(out, value.as_bytes());
        }
    }
}

/// A string literal without Huffman coding (RFC 7541, sections 5.1 and 5.2).
fn string(out: &mut Vec<u8>, bytes: &[u8]) {
    const PREFIX: u8 = 0x7f;
    match u8::try_from(bytes.len()) {
        Ok(length) if length < PREFIX => out.push(length),
        _ => {
            out.push(PREFIX);
            let mut rest = bytes.len() - usize::from(PREFIX);
            while rest >= 0x80 {
                out.push(rest.to_le_bytes()[0] | 0x80);
                rest >>= 7;
            }
            out.push(rest.to_le_bytes()[0]);
        }
    }
    out.extend_from_slice(bytes);
}
