//! The page to try a channel on: plain files, served from the binary under a strict content security policy.

use http::{HeaderValue, Response, header};

use super::{Answer, full};

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
    img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const JS: &str = "text/javascript; charset=utf-8";

macro_rules! files {
    ($($name:literal => $file:literal, $kind:expr;)*) => {
        &[$(($name, $kind, include_str!(concat!("page/", $file)))),*]
    };
}

/// Path, content type and text.
const FILES: &[(&str, &str, &str)] = files! {
    "" => "index.html", "text/html; charset=utf-8";
    "page.css" => "page.css", "text/css; charset=utf-8";
    "page.js" => "page.js", JS;
    "page-api.js" => "page-api.js", JS;
    "page-channel.js" => "page-channel.js", JS;
    "page-chart.js" => "page-chart.js", JS;
    "page-demo.js" => "page-demo.js", JS;
    "page-dom.js" => "page-dom.js", JS;
    "page-history.js" => "page-history.js", JS;
    "page-pane.js" => "page-pane.js", JS;
    "page-rows.js" => "page-rows.js", JS;
    "page-send.js" => "page-send.js", JS;
    "page-sse.js" => "page-sse.js", JS;
    "page-stats.js" => "page-stats.js", JS;
    "page-stream.js" => "page-stream.js", JS;
    "page-watch.js" => "page-watch.js", JS;
};

/// The file at `/<name>`, if there is one.
pub(super) fn serve(name: &str) -> Option<Response<Answer>> {
    let (_, kind, text) = FILES.iter().find(|(n, _, _)| *n == name)?;
    let mut response = Response::new(full(*text));
    let set = HeaderValue::from_static;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, set(kind));
    headers.insert(header::CONTENT_SECURITY_POLICY, set(POLICY));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, set("nosniff"));
    headers.insert(header::REFERRER_POLICY, set("no-referrer"));
    headers.insert(header::CACHE_CONTROL, set("no-cache"));
    Some(response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_page_is_served_and_every_one_it_asks_for_exists() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/http/page");
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
                assert!(serve(name).is_some(), "{name} is asked for");
            }
        }
    }

    #[test]
    fn the_page_has_nothing_that_its_policy_would_stop() {
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
        for (name, _, text) in FILES.iter().filter(|f| f.1 == JS) {
            for bad in ["innerHTML", "outerHTML", "insertAdjacentHTML", "eval(", "document.write"] {
                assert!(!text.contains(bad), "{bad} in {name}");
            }
        }
    }
}
