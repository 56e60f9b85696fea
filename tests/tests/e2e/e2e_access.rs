//! Access and TLS on a real cluster: identities of service accounts, and a certificate from a Secret.

use anyhow::{Result, ensure};
use eventcast_tests::{
    e2e::{Channel, Reach, WAIT_TIMEOUT, scenario},
    eventually,
    http::{Publish, Version, client, created},
    sse::EventStream,
    tls::Issued,
};
use serde_json::json;

use crate::e2e_install::EVENT_TIMEOUT;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: make e2e"]
async fn a_service_account_publishes_after_one_role_binding() -> Result<()> {
    scenario(async |cluster| {
        cluster.install().await?;
        let channel = Channel::create(cluster, "identity").await?;
        let namespace = &channel.namespace;
        let access = json!({"anonymous": ["Subscribe"], "kubernetes": {"audience": "eventcast"}});
        channel.patch(json!({"spec": {"access": access}})).await?;
        eventually("the brokers may ask about access", WAIT_TIMEOUT, || async {
            ensure!(cluster.has(namespace, "rolebinding/demo-broker").await?, "no RoleBinding");
            anyhow::Ok(())
        })
        .await?;
        channel.kubectl(&["rollout", "status", "deployment/demo-broker", "--timeout=180s"]).await?;
        channel.kubectl(&["create", "serviceaccount", "shop"]).await?;
        let token = channel.kubectl(&["create", "token", "shop", "--audience=eventcast"]).await?;
        let bearer = format!("Bearer {}", token.trim());
        let reach = channel.reach().await?;
        let url = reach.events("");
        let publishes = |status: u16| {
            let publish = Publish::new("hello").header("Authorization", &bearer);
            let url = &url;
            async move {
                let answer = publish.send(&client(Version::Http1), url).await?;
                ensure!(answer.status == status, "{} {}", answer.status, answer.json);
                anyhow::Ok(())
            }
        };
        // Its token is good, and nobody has allowed it anything.
        eventually("the account may not publish", WAIT_TIMEOUT, || publishes(403)).await?;
        let account = format!("--serviceaccount={namespace}:shop");
        let role = "--clusterrole=eventcast-publisher";
        channel.kubectl(&["create", "rolebinding", "shop-publishes", role, &account]).await?;
        eventually("the account may publish", WAIT_TIMEOUT, || publishes(201)).await?;
        channel.wait("condition=AccessReady").await?;
        channel.leave().await
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs a cluster: make e2e"]
async fn a_certificate_that_comes_later_is_served_without_a_restart() -> Result<()> {
    scenario(async |cluster| {
        cluster.install().await?;
        let channel = Channel::create(cluster, "tls").await?;
        let namespace = &channel.namespace;
        let tls = json!({"tls": {"secretName": "demo-tls", "plaintext": true}});
        channel.patch(json!({"spec": {"exposure": tls}})).await?;
        eventually("the Service has a port for TLS", WAIT_TIMEOUT, || async {
            let service = channel.get("service/demo-broker").await?;
            ensure!(service["spec"]["ports"][1]["port"] == 443, "{}", service["spec"]["ports"]);
            anyhow::Ok(())
        })
        .await?;
        // The Secret does not exist: brokers start all the same, and say what they lack.
        let rolled = ["rollout", "status", "deployment/demo-broker", "--timeout=180s"];
        channel.kubectl(&rolled).await?;
        channel.wait("condition=AccessReady=False").await?;
        let plain = channel.reach().await?;
        created(&plain.events(""), "plain", &[]).await?;

        let issued = Issued::new()?;
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "demo-tls"}, "type": "kubernetes.io/tls",
            "stringData": {"tls.crt": issued.certificate, "tls.key": issued.key},
        });
        cluster.apply(namespace, &secret.to_string()).await?;
        let secure = eventually("the brokers serve TLS", WAIT_TIMEOUT, || {
            Reach::by_tls(cluster, namespace, "demo")
        })
        .await?;
        let mut stream = EventStream::connect(&secure.events("from=earliest"), None).await?;
        ensure!(stream.next_data(EVENT_TIMEOUT).await?.data == "plain", "another event");
        created(&secure.events(""), "secret", &[]).await?;
        ensure!(stream.next_data(EVENT_TIMEOUT).await?.data == "secret", "another event");
        let url = format!("jsonpath={{.status.url}}=https://demo-broker.{namespace}.svc.cluster.local/channels/{namespace}/demo/events");
        channel.wait(&url).await?;
        channel.wait("condition=AccessReady").await?;
        channel.leave().await
    })
    .await
}
