//! The files of `static/`, within the program. Their addresses hold a hash of
//! their content, so that browsers keep them for as long as they like.

use std::sync::LazyLock;

use axum::Router;
use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use include_dir::{Dir, include_dir};
use xxhash_rust::xxh3::xxh3_64;

static FILES: Dir<'static> = include_dir!("$CARGO_MANIFEST_DIR/static");

/// A file as it is served.
struct Asset {
    name: String,
    /// Its name with the hash before its ending.
    served_as: String,
    content: &'static [u8],
}

static ASSETS: LazyLock<Vec<Asset>> = LazyLock::new(|| {
    let files = FILES.files().filter_map(|file| {
        let name = file.path().to_str()?.to_owned();
        let (stem, ending) = name.rsplit_once('.')?;
        let served_as = format!("{stem}.{:016x}.{ending}", xxh3_64(file.contents()));
        Some(Asset { name, served_as, content: file.contents() })
    });
    files.collect()
});

/// The address of a file of `static/`.
pub fn url(name: &str) -> String {
    let asset = ASSETS.iter().find(|asset| asset.name == name);
    format!("/static/{}", asset.map_or(name, |asset| asset.served_as.as_str()))
}

/// The route of the files.
pub fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new().route("/static/{name}", get(serve))
}

async fn serve(Path(name): Path<String>) -> Response {
    let Some(asset) = ASSETS.iter().find(|asset| asset.served_as == name) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let media_type = match name.rsplit('.').next() {
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        Some(_) | None => "application/octet-stream",
    };
    let headers =
        [(header::CONTENT_TYPE, media_type), (header::CACHE_CONTROL, "public, max-age=31536000, immutable")];
    (headers, asset.content).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_changes_with_its_content_and_leads_nowhere_else() {
        let css = url("tidegate.css");
        assert!(css.starts_with("/static/tidegate.") && css.ends_with(".css") && css.len() > 30, "{css}");
        for asset in ASSETS.iter() {
            let text = String::from_utf8(asset.content.to_vec()).unwrap();
            let elsewhere = text.replace("http://www.w3.org/2000/svg", "");
            assert!(!elsewhere.contains("http:") && !elsewhere.contains("https:"), "{}", asset.name);
        }
    }
}
