//! The web page to try a channel with, and the JavaScript client that it uses: static files of `broker/assets` and
//! `broker/clients/js`, compiled into the binary, served under a strict content security policy.

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

macro_rules! client {
    ($($name:literal),* $(,)?) => {
        &[$(($name, JAVASCRIPT, include_str!(concat!("../../clients/js/", $name)))),*]
    };
}

/// Name, content type and content.
type File = (&'static str, &'static str, &'static str);

/// The page. The names are paths below `/`.
const FILES: &[File] = files! {
    "" => "index.html", "text/html; charset=utf-8";
    "page.css" => "page.css", "text/css; charset=utf-8";
    "page.js" => "page.js", JAVASCRIPT;
    "page-access.js" => "page-access.js", JAVASCRIPT;
    "page-api.js" => "page-api.js", JAVASCRIPT;
    "page-channel.js" => "page-channel.js", JAVASCRIPT;
    "page-chart.js" => "page-chart.js", JAVASCRIPT;
    "page-credential.js" => "page-credential.js", JAVASCRIPT;
    "page-demo.js" => "page-demo.js", JAVASCRIPT;
    "page-dom.js" => "page-dom.js", JAVASCRIPT;
    "page-grant.js" => "page-grant.js", JAVASCRIPT;
    "page-history.js" => "page-history.js", JAVASCRIPT;
    "page-pane.js" => "page-pane.js", JAVASCRIPT;
    "page-rows.js" => "page-rows.js", JAVASCRIPT;
    "page-send.js" => "page-send.js", JAVASCRIPT;
    "page-stats.js" => "page-stats.js", JAVASCRIPT;
    "page-watch.js" => "page-watch.js", JAVASCRIPT;
};

/// The client. The names are paths below `/client/`.
const CLIENT: &[File] = client![
    "credential.js",
    "delivery.js",
    "event-source.js",
    "fetch-stream.js",
    "index.js",
    "parser.js",
    "problem.js",
    "react.js",
    "remember.js",
    "share.js",
    "stream.js",
];

/// The file at `/<name>`, if it is part of the page.
pub(super) fn serve(name: &str) -> Option<Response<Answer>> {
    respond(FILES, name)
}

/// The file at `/client/<name>`, if it is part of the client.
pub(super) fn serve_client(name: &str) -> Option<Response<Answer>> {
    respond(CLIENT, name)
}

fn respond(files: &[File], name: &str) -> Option<Response<Answer>> {
    let (_, kind, text) = files.iter().find(|(n, _, _)| *n == name)?;
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

    /// The quoted paths in all files of the page and the client that begin so.
    fn references(start: &str) -> Vec<&'static str> {
        let texts = FILES.iter().chain(CLIENT).map(|(_, _, text)| *text);
        let quoted = texts.flat_map(|text| text.split(['"', '\'']));
        quoted.filter_map(|path| path.strip_prefix(start)).collect()
    }

    #[test]
    fn every_asset_is_served_and_every_reference_exists() {
        let broker = env!("CARGO_MANIFEST_DIR");
        for (folder, files) in [("assets", FILES), ("clients/js", CLIENT)] {
            for entry in std::fs::read_dir(format!("{broker}/{folder}")).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                let path = if name == "index.html" { "" } else { &*name };
                let served = respond(files, path).is_some();
                let needed = folder == "assets" || name.ends_with(".js");
                assert_eq!(served, needed, "{folder}/{name}");
            }
        }
        for name in references("./page") {
            assert!(serve(&format!("page{name}")).is_some(), "page{name}");
        }
        for name in references("./client/") {
            assert!(serve_client(name).is_some(), "{name}");
        }
        let of_client = CLIENT.iter().flat_map(|(_, _, text)| text.split('"'));
        for name in of_client.filter_map(|quoted| quoted.strip_prefix("./")) {
            assert!(serve_client(name).is_some(), "{name}");
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
        for (name, _, text) in FILES.iter().chain(CLIENT).filter(|f| f.1 == JAVASCRIPT) {
            for bad in ["innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "document.write"] {
                assert!(!text.contains(bad), "{bad} in {name}");
            }
        }
    }
}
