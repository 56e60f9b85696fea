//! The web page to try a channel with: static files of `broker/assets`, compiled into the binary, served under a strict content
//! security policy.

use http::{HeaderValue, Response, header};

use super::{Answer, full};

const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! files {
    ($($name:literal => $file:literal, $kind:expr;)*) => {
        &[$(($name, $kind, include_str!(concat!("../../assets/", $file)))),*]
    };
}

/// Path below `/`, content type and content.
const FILES: &[(&str, &str, &str)] = files! {
    "" => "index.html", "text/html; charset=utf-8";
    "page.css" => "page.css", "text/css; charset=utf-8";
    "page.js" => "page.js", JAVASCRIPT;
    "page-access.js" => "page-access.js", JAVASCRIPT;
    "page-api.js" => "page-api.js", JAVASCRIPT;
    "page-carrier.js" => "page-carrier.js", JAVASCRIPT;
    "page-channel.js" => "page-channel.js", JAVASCRIPT;
    "page-chart.js" => "page-chart.js", JAVASCRIPT;
    "page-credential.js" => "page-credential.js", JAVASCRIPT;
    "page-demo.js" => "page-demo.js", JAVASCRIPT;
    "page-dom.js" => "page-dom.js", JAVASCRIPT;
    "page-ending.js" => "page-ending.js", JAVASCRIPT;
    "page-history.js" => "page-history.js", JAVASCRIPT;
    "page-pane.js" => "page-pane.js", JAVASCRIPT;
    "page-rows.js" => "page-rows.js", JAVASCRIPT;
    "page-send.js" => "page-send.js", JAVASCRIPT;
    "page-sse.js" => "page-sse.js", JAVASCRIPT;
    "page-stats.js" => "page-stats.js", JAVASCRIPT;
    "page-stream.js" => "page-stream.js", JAVASCRIPT;
    "page-watch.js" => "page-watch.js", JAVASCRIPT;
};

/// The file at `/<name>`, if it is part of the page.
pub(super) fn serve(name: &str) -> Option<Response<Answer>> {
    let (_, kind, text) = FILES.iter().find(|(n, _, _)| *n == name)?;
    let mut response = Response::new(full(*text));
    let set = HeaderValue::from_static;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, set(kind));
    headers.insert(header::CONTENT_SECURITY_POLICY, set(CONTENT_SECURITY_POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, set("nosniff"));
    headers.insert(header::REFERRER_POLICY, set("no-referrer"));
    headers.insert(header::CACHE_CONTROL, set("no-cache"));
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_asset_is_served_and_every_reference_exists() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/assets");
        for entry in std::fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let path = if name == "index.html" { "" } else { &*name };
            assert!(serve(path).is_some(), "{name} is not in FILES");
        }
        for (_, _, text) in FILES {
            for quoted in text
                .split(['"', '\''])
                .filter(|q| q.starts_with("./page") || q.starts_with("/page"))
            {
                let name = quoted.trim_start_matches(['.', '/']);
                assert!(serve(name).is_some(), "{name} is referenced, but not served");
            }
        }
    }

    #[test]
    fn the_page_obeys_its_content_security_policy() {
        let (_, _, html) = FILES[0];
        for bad in [
            " style=",
            "<style",
            "onclick=",
            "javascript:",
            "src=\"http",
            "href=\"http",
            "<script>",
        ] {
            assert!(!html.contains(bad), "{bad}");
        }
        for (name, _, text) in FILES.iter().filter(|f| f.1 == JAVASCRIPT) {
            for bad in ["innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "document.write"] {
                assert!(!text.contains(bad), "{bad} in {name}");
            }
        }
    }
}
