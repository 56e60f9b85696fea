//! Tokens of Kubernetes service accounts.
