//! The stream of what the brokers of all channels share: keys of tickets, revocations and renewals. It belongs to no channel and is never
//! deleted.

use async_nats::jetstream::stream::Config;
use eventcast_crds::stream::access::{STREAM, desired_config};

use super::{check_leader, create, read_info, update};
use crate::{channel::Channel, leader::Fence, nats::NatsLink, stream_error::StreamError};

/// Creates the stream if `channel` needs it, or corrects it. It is stored by as many NATS servers as the log of the channel that
/// has the most.
///
/// # Errors
/// See [`StreamError`]. Until there is a stream, the brokers verify no credentials.
///
/// # Cancel safety
/// A request that was sent may still take effect. The next reconciliation finds the result.
pub async fn ensure(nats: &NatsLink, fence: &Fence, channel: &Channel) -> Result<(), StreamError> {
    // Without a credential there is nothing to revoke and no ticket to issue. Delivery probes have tickets of their own.
    if !channel.config.access.accepts_credentials() && channel.probe().is_none() {
        return Ok(());
    }
    let desired = desired_config(channel.config.retention.replicas);
    match read_info(nats, STREAM).await? {
        None => {
            check_leader(fence)?;
            create(nats, desired).await?;
            tracing::info!(stream = STREAM, "created the stream of access records");
        }
        Some(info) => {
            if let Some(corrected) = correct(&info.config, desired) {
                check_leader(fence)?;
                update(nats, corrected).await?;
                tracing::info!(stream = STREAM, "corrected the stream of access records");
            }
        }
    }
    Ok(())
}

/// The configuration to write if `observed` differs from `desired`. Never fewer replicas: another channel may need them.
fn correct(observed: &Config, desired: Config) -> Option<Config> {
    let corrected = Config {
        subjects: desired.subjects,
        max_messages_per_subject: desired.max_messages_per_subject,
        max_bytes: desired.max_bytes,
        max_message_size: desired.max_message_size,
        discard: desired.discard,
        num_replicas: desired.num_replicas.max(observed.num_replicas),
        allow_direct: desired.allow_direct,
        allow_message_ttl: desired.allow_message_ttl,
        republish: desired.republish,
        ..observed.clone()
    };
    (corrected != *observed).then_some(corrected)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::fixture::channel;

    #[test]
    fn only_channels_with_credentials_need_it() {
        for (access, expected) in [
            ("anonymous: [Subscribe]", false),
            ("kubernetes: {}", true),
            ("apiKeys: {secretName: s}", true),
            ("tokens: [{issuer: i, audience: a, jwksUrl: 'https://i/k'}]", true),
        ] {
            let (channel, _) = channel(&format!("spec: {{access: {{{access}}}}}"));
            assert_eq!(channel.config.access.accepts_credentials(), expected, "{access}");
        }
    }

    #[test]
    fn replicas_are_added_and_never_taken_away() {
        let three = desired_config(3);
        assert_eq!(correct(&three, desired_config(3)), None);
        assert_eq!(correct(&three, desired_config(1)), None, "another channel needs them");
        let more = correct(&desired_config(1), desired_config(3)).unwrap();
        assert_eq!(more.num_replicas, 3);
        let broken = Config { republish: None, placement: None, ..desired_config(1) };
        assert_eq!(correct(&broken, desired_config(1)), Some(desired_config(1)));
    }
}
