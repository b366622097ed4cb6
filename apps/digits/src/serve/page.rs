//! The page: its files are in the program.

use std::hash::{DefaultHasher, Hash, Hasher};

use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::error::{ApiError, Code};
use super::metrics::Endpoint;
use super::observe::about;

/// A file of the page.
pub struct File {
    pub path: &'static str,
    content_type: &'static str,
    content: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! files {
    ($($path:literal $content_type:ident $name:literal)*) => {
        /// Every file of the page.
        pub static FILES: &[File] = &[$(File {
            path: $path,
            content_type: $content_type,
            content: include_str!(concat!("page/", $name)),
        }),*];
    };
}

files! {
    "/" HTML "index.html"
    "/style.css" STYLE "style.css"
    "/main.js" SCRIPT "main.js"
    "/paper.js" SCRIPT "paper.js"
    "/reader.js" SCRIPT "reader.js"
    "/result.js" SCRIPT "result.js"
    "/words.js" SCRIPT "words.js"
    "/icon.svg" SVG "icon.svg"
}

/// Sends a file, unless the browser has this very content.
pub async fn send(file: &'static File, request: Request) -> Response {
    let mut hasher = DefaultHasher::new();
    file.content.hash(&mut hasher);
    let Ok(tag) = HeaderValue::try_from(format!("\"{:016x}\"", hasher.finish())) else {
        let error = ApiError::new(Code::Internal, "the tag of a file is no header");
        return about(Endpoint::Page, Err(error));
    };
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(file.content_type)),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
        (header::ETAG, tag.clone()),
    ];
    let known = request.headers().get(header::IF_NONE_MATCH) == Some(&tag);
    let response = if known {
        (StatusCode::NOT_MODIFIED, headers).into_response()
    } else {
        (headers, file.content).into_response()
    };
    about(Endpoint::Page, Ok(response))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_on_the_page_comes_from_elsewhere_or_stands_inline() {
        for File { path, content, .. } in FILES {
            // The namespace of SVG is a name, not an address.
            let content = content.replace("http://www.w3.org/2000/svg", "");
            assert!(!content.contains("://"), "{path}");
            for inline in ["<style", "style=\"", "onclick", "javascript:", "eval(", "innerHTML"] {
                assert!(!content.contains(inline), "{path} has {inline}");
            }
        }
        let html = FILES[0].content;
        for File { path, .. } in FILES {
            let scripts =
                || FILES.iter().any(|file| file.content.contains(&format!("\".{path}\"")));
            assert!(*path == "/" || html.contains(path) || scripts(), "{path} is not used");
        }
        assert_eq!(
            html.matches("<script").count(),
            html.matches("<script type=\"module\" src=").count()
        );
    }
}
