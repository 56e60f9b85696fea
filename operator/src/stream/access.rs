//! The stream of what the brokers of all channels share: keys of tickets, revocations and renewals. It belongs to no channel and is never
//! deleted.

use eventcast_crds::stream::access::{STREAM, desired_config};

use super::{check_leader, create, read_info, update};
use crate::{channel::Channel, leader::Fence, nats::NatsLink, stream_error::StreamError};

/// Creates the stream if `channel` accepts credentials, and stores it on at least as many NATS servers as the channel's own.
///
/// # Errors
/// See [`StreamError`]. Until there is a stream, the brokers issue no tickets and disconnect nobody.
pub(super) async fn ensure(
    nats: &NatsLink,
    fence: &Fence,
    channel: &Channel,
) -> Result<(), StreamError> {
    let access = &channel.config.access;
    if access.tokens.is_empty() && access.kubernetes.is_none() && access.api_keys.is_none() {
        return Ok(());
    }
    let wanted = desired_config(channel.config.retention.replicas);
    match read_info(nats, STREAM).await? {
        None => {
            check_leader(fence)?;
            create(nats, wanted).await?;
            tracing::info!(stream = STREAM, "created the stream of access records");
        }
        Some(info) if info.config.num_replicas < wanted.num_replicas => {
            check_leader(fence)?;
            let replicas = wanted.num_replicas;
            update(nats, wanted).await?;
            tracing::info!(
                stream = STREAM,
                replicas,
                "the stream of access records has more replicas"
            );
        }
        Some(_) => {}
    }
    Ok(())
}
