//! A channel as a client of its HTTP API sees it.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use serde::de::DeserializeOwned;

use crate::{
    client::{Client, ClientError, Incoming, Request},
    failure::Failure,
    problem::Problem,
    target::ChannelUrl,
};

/// Why a request has no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RequestError {
    #[error("{0}")]
    Client(#[from] ClientError),
    #[error("{0}")]
    Refused(Box<Problem>),
    #[error(
        "the answer cannot be read: {0}. Is a proxy between this program and the broker, or is the broker much newer?"
    )]
    Unreadable(serde_json::Error),
    #[error("--key must have 1 to 128 visible ASCII characters")]
    Key,
}

impl RequestError {
    /// Whether the same request may succeed later.
    pub(crate) fn is_temporary(&self) -> bool {
        match self {
            Self::Client(error) => error.is_temporary(),
            Self::Refused(problem) => problem.is_temporary(),
            Self::Unreadable(_) | Self::Key => false,
        }
    }

    /// How long the broker asks to wait.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused(problem) => problem.retry_after(),
            _ => None,
        }
    }
}

impl From<RequestError> for Failure {
    fn from(error: RequestError) -> Self {
        match error {
            RequestError::Client(ClientError::Credential(failure)) => failure,
            RequestError::Key => Self::usage(error.to_string()),
            error => Self::failed(error.to_string()),
        }
    }
}

/// Parameters of a request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(&'static str, String)>);

impl Query {
    /// Adds a parameter.
    pub(crate) fn add(&mut self, name: &'static str, value: impl Into<String>) {
        self.0.push((name, value.into()));
    }

    /// Adds a parameter for each value.
    pub(crate) fn add_all<'a>(
        &mut self,
        name: &'static str,
        values: impl IntoIterator<Item = &'a String>,
    ) {
        values.into_iter().for_each(|value| self.add(name, value));
    }

    /// The same with another value of `name`.
    pub(crate) fn with(&self, name: &'static str, value: impl Into<String>) -> Self {
        let mut query = self.without(name);
        query.add(name, value);
        query
    }

    /// The same without `name`.
    pub(crate) fn without(&self, name: &str) -> Self {
        Self(self.0.iter().filter(|(known, _)| *known != name).cloned().collect())
    }

    fn target(&self, path: &str) -> String {
        if self.0.is_empty() {
            return path.to_owned();
        }
        let mut text = form_urlencoded::Serializer::new(String::new());
        text.extend_pairs(&self.0);
        format!("{path}?{}", text.finish())
    }
}

/// A channel and the client that reaches it.
#[derive(Clone, Debug)]
pub(crate) struct Channel {
    pub(crate) url: ChannelUrl,
    client: Client,
}

impl Channel {
    pub(crate) fn new(url: ChannelUrl, client: Client) -> Self {
        Self { url, client }
    }

    /// `GET` below the channel, with an answer in JSON.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub(crate) async fn get<T: DeserializeOwned>(
        &self,
        below: &str,
        query: &Query,
    ) -> Result<T, RequestError> {
        let headers = HeaderMap::from_iter([accept("application/json")]);
        let response = self.send(Method::GET, below, query, headers, Bytes::new()).await?;
        self.json(response).await
    }

    /// `POST` below the channel, with an answer in JSON.
    ///
    /// # Errors
    /// See [`RequestError`].
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        below: &str,
        query: &Query,
        mut headers: HeaderMap,
        body: Bytes,
    ) -> Result<T, RequestError> {
        headers.extend([accept("application/json")]);
        let response = self.send(Method::POST, below, query, headers, body).await?;
        self.json(response).await
    }

    /// Opens a stream. `None` if the broker asks clients to stay away (204).
    ///
    /// # Errors
    /// See [`RequestError`].
    pub(crate) async fn subscribe(
        &self,
        query: &Query,
        last_event_id: Option<&str>,
    ) -> Result<Option<Response<Incoming>>, RequestError> {
        let mut headers = HeaderMap::new();
        if let Some(id) = last_event_id.and_then(|id| HeaderValue::from_str(id).ok()) {
            headers.insert("last-event-id", id);
        }
        let response = self.open(query, headers).await?;
        let content_type = response.headers().get(header::CONTENT_TYPE);
        let is_stream =
            content_type.is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream"));
        match response.status() {
            StatusCode::NO_CONTENT => Ok(None),
            StatusCode::OK if is_stream => Ok(Some(response)),
            _ => Err(self.refused(response).await?),
        }
    }

    /// Asks for a stream, as a browser does, and returns whatever the answer is.
    ///
    /// # Errors
    /// There is none.
    pub(crate) async fn open(
        &self,
        query: &Query,
        mut headers: HeaderMap,
    ) -> Result<Response<Incoming>, ClientError> {
        let cache = (header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.extend([accept("text/event-stream"), cache]);
        self.send(Method::GET, "/events", query, headers, Bytes::new()).await
    }

    async fn send(
        &self,
        method: Method,
        below: &str,
        query: &Query,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Response<Incoming>, ClientError> {
        let target = query.target(&format!("{}{below}", self.url.path));
        self.client.send(Request { method, target, headers, body }).await
    }

    async fn json<T: DeserializeOwned>(
        &self,
        response: Response<Incoming>,
    ) -> Result<T, RequestError> {
        let content_type = response.headers().get(header::CONTENT_TYPE);
        let is_json =
            content_type.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"));
        if !response.status().is_success() || !is_json {
            return Err(self.refused(response).await?);
        }
        let body = self.client.read(response.into_body()).await?;
        serde_json::from_slice(&body).map_err(RequestError::Unreadable)
    }

    /// What an answer says that is not the one that was asked for.
    ///
    /// # Errors
    /// It cannot be read.
    pub(crate) async fn refused(
        &self,
        response: Response<Incoming>,
    ) -> Result<RequestError, ClientError> {
        let (head, body) = response.into_parts();
        let body = self.client.read(body).await?;
        let problem = Problem::new(head.status, &head.headers, &body);
        let problem = if self.client.has_credential() { problem.of_credential() } else { problem };
        Ok(RequestError::Refused(Box::new(problem)))
    }
}

fn accept(kind: &'static str) -> (header::HeaderName, HeaderValue) {
    (header::ACCEPT, HeaderValue::from_static(kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_encoded_and_replaced() {
        let mut query = Query::default();
        query.add_all("topic", &["a.*".to_owned(), "b c+d".to_owned()]);
        query.add("from", "earliest");
        assert_eq!(query.target("/x"), "/x?topic=a.*&topic=b+c%2Bd&from=earliest");
        assert_eq!(query.without("topic").with("from", "k-1-a").target("/x"), "/x?from=k-1-a");
        assert_eq!(Query::default().target("/x"), "/x");
    }
}
