//! Service accounts as clients: a real API server verifies their tokens, and its roles decide what they may do.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use eventcast_crds::{
    broker_status::{AccessReason, BrokerStatus, PATH},
    config::{BrokerConfig, ChannelConfig, KubernetesAccess, Quota},
};
use eventcast_tests::{
    broker::{Broker, networks},
    eventually,
    http::{Answer, Publish, Version, client},
    init_tracing,
    kube::{ApiServer, temp_namespace},
    nats::NatsServer,
    sse::{EventStream, Subscribe},
};
use futures_util::future::try_join_all;
use k8s_openapi::api::{
    authentication::v1::{BoundObjectReference, TokenRequestSpec},
    core::v1::{Pod, ServiceAccount},
    rbac::v1::{ClusterRole, ClusterRoleBinding, Role, RoleBinding},
};
use kube::{
    Api, Client, Resource,
    api::{DeleteParams, PostParams},
    core::NamespaceResourceScope,
};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::time::Instant;

const WAIT_TIMEOUT: Duration = Duration::from_secs(20);
/// How long a broker may go on after a right was taken away, with a second for the test.
const FORGET_TIMEOUT: Duration = Duration::from_secs(31);
/// The audience of the channel's tokens.
const AUDIENCE: &str = "eventcast";
const RBAC: &str = "rbac.authorization.k8s.io";

/// A broker that serves one channel to service accounts.
struct World {
    broker: Broker,
    server: ApiServer,
    admin: Client,
    namespace: String,
    nats: NatsServer,
}

impl World {
    /// `rights`: whether the broker may ask about tokens and access.
    async fn start(rights: bool) -> Result<Self> {
        init_tracing();
        let server = ApiServer::start().await?;
        let admin = server.client().await?;
        let namespace = temp_namespace(&admin).await?;
        let nats = NatsServer::start().await?;
        create::<ServiceAccount>(&admin, &namespace, json!({"metadata": {"name": "broker"}}))
            .await?;
        let kubeconfig = server.kubeconfig(&server.token(&namespace, "broker").await?)?;
        let access = |config: &mut BrokerConfig| {
            let mut channel = ChannelConfig::new(&namespace, "orders");
            channel.access.kubernetes =
                Some(KubernetesAccess { audience: AUDIENCE.into(), quota: None });
            config.channels = vec![channel];
            config.limits.trusted_proxies = networks(["127.0.0.0/8"]);
        };
        let broker = Broker::start_with_kubeconfig(&nats.url(), &kubeconfig, access).await?;
        let world = Self { broker, server, admin, namespace, nats };
        if rights {
            world.allow_reviews().await?;
        }
        Ok(world)
    }

    /// Gives the broker what the chart and the operator give it.
    async fn allow_reviews(&self) -> Result<()> {
        let roles: Api<ClusterRole> = Api::all(self.admin.clone());
        let bindings: Api<ClusterRoleBinding> = Api::all(self.admin.clone());
        let reviews = |group: &str, resource: &str| json!([{"apiGroups": [group], "resources": [resource], "verbs": ["create"]}]);
        let name = json!({"name": "reviewer"});
        let subjects =
            json!([{"kind": "ServiceAccount", "name": "broker", "namespace": self.namespace}]);
        let role =
            json!({"metadata": name, "rules": reviews("authentication.k8s.io", "tokenreviews")});
        roles.create(&PostParams::default(), &serde_json::from_value(role)?).await?;
        let to = |kind: &str| json!({"apiGroup": RBAC, "kind": kind, "name": "reviewer"});
        let binding = json!({"metadata": name, "roleRef": to("ClusterRole"), "subjects": subjects});
        bindings.create(&PostParams::default(), &serde_json::from_value(binding)?).await?;
        let rules = reviews("authorization.k8s.io", "localsubjectaccessreviews");
        self.create::<Role>(json!({"metadata": name, "rules": rules})).await?;
        let binding = json!({"metadata": name, "roleRef": to("Role"), "subjects": subjects});
        self.create::<RoleBinding>(binding).await
    }

    async fn create<K>(&self, object: Value) -> Result<()>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
            + Clone
            + DeserializeOwned
            + Serialize
            + std::fmt::Debug,
    {
        create::<K>(&self.admin, &self.namespace, object).await
    }

    async fn account(&self, name: &str) -> Result<()> {
        self.create::<ServiceAccount>(json!({"metadata": {"name": name}})).await
    }

    /// Lets a service account of any namespace do `verb` on the channel.
    async fn bind(&self, namespace: &str, account: &str, verb: &str) -> Result<()> {
        let name = format!("{account}-{verb}");
        let rule = json!({"apiGroups": ["eventcast.dev"], "resources": ["eventchannels"], "verbs": [verb]});
        self.create::<Role>(json!({"metadata": {"name": name}, "rules": [rule]})).await?;
        self.create::<RoleBinding>(json!({
            "metadata": {"name": name}, "roleRef": {"apiGroup": RBAC, "kind": "Role", "name": name},
            "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
        }))
        .await
    }

    async fn unbind(&self, account: &str, verb: &str) -> Result<()> {
        let bindings: Api<RoleBinding> = Api::namespaced(self.admin.clone(), &self.namespace);
        bindings.delete(&format!("{account}-{verb}"), &DeleteParams::default()).await?;
        Ok(())
    }

    /// A token of an account for one audience.
    async fn token(&self, account: &str, audience: &str) -> Result<String> {
        let spec =
            TokenRequestSpec { audiences: vec![audience.into()], ..TokenRequestSpec::default() };
        self.server.token_with(&self.namespace, account, spec).await
    }

    fn url(&self, rest: &str) -> String {
        self.broker.url(&format!("/channels/{}/orders/{rest}", self.namespace))
    }

    async fn publish(&self, token: &str) -> Result<Answer> {
        let publish = Publish::new("x").header("Authorization", &format!("Bearer {token}"));
        publish.send(&client(Version::Http1), &self.url("events")).await
    }

    async fn subscribe(&self, token: &str) -> Result<EventStream> {
        let headers = vec![("Authorization".to_owned(), format!("Bearer {token}"))];
        EventStream::open(Subscribe { url: self.url("events"), headers, ..Subscribe::default() })
            .await
    }

    /// What the broker says that a client may do.
    async fn grant(&self, token: &str) -> Result<Value> {
        let request = client(Version::Http1).get(self.url("access")).bearer_auth(token);
        let answer = Answer::read(request.send().await?).await?;
        ensure!(answer.status == 200, "{} {}", answer.status, answer.json);
        Ok(answer.json)
    }

    /// Waits until a publish is answered with `status`, and returns how long that took.
    async fn publishes(&self, token: &str, status: u16, within: Duration) -> Result<Duration> {
        let began = Instant::now();
        eventually(&format!("a publish is answered with {status}"), within, || async {
            let answer = self.publish(token).await?;
            ensure!(answer.status == status, "{} {}", answer.status, answer.json);
            anyhow::Ok(())
        })
        .await?;
        Ok(began.elapsed())
    }

    /// Requests of the broker to the API server for `resource`.
    fn asked(&self, resource: &str) -> Result<usize> {
        let user = format!("system:serviceaccount:{}:broker", self.namespace);
        let events = self.server.audit()?;
        Ok(events.iter().filter(|e| e.user == user && e.resource == resource).count())
    }

    async fn state(&self) -> Result<BrokerStatus> {
        let answer = client(Version::Http1).get(self.broker.admin_url(PATH)).send().await?;
        Ok(serde_json::from_slice(&answer.bytes().await?)?)
    }
}

async fn create<K>(client: &Client, namespace: &str, object: Value) -> Result<()>
where
    K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>
        + Clone
        + DeserializeOwned
        + Serialize
        + std::fmt::Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), namespace);
    api.create(&PostParams::default(), &serde_json::from_value(object)?).await?;
    Ok(())
}

#[tokio::test]
async fn an_account_may_do_what_its_roles_allow_and_only_while_they_do() -> Result<()> {
    let mut world = World::start(true).await?;
    world.account("shop").await?;
    let token = world.token("shop", AUDIENCE).await?;
    let refused = world.publish(&token).await?;
    ensure!(refused.status == 403, "{} {}", refused.status, refused.json);

    world.bind(&world.namespace, "shop", "publish").await?;
    let took = world.publishes(&token, 201, WAIT_TIMEOUT).await?;
    ensure!(took < Duration::from_secs(12), "a denial was kept for {took:?}");
    let grant = world.grant(&token).await?;
    let subject = format!("system:serviceaccount:{}:shop", world.namespace);
    assert_eq!((&grant["way"], &grant["subject"]), (&json!("kubernetes"), &json!(subject)));
    assert_eq!((&grant["subscribe"], &grant["manage"]), (&Value::Null, &json!(false)));
    assert_eq!(grant["publish"]["broadcast"], true);
    // The token is good for an hour, the grant for ten minutes: then a stream is judged again.
    let ends: jiff::Timestamp = grant["expires_at"].as_str().context("no end")?.parse()?;
    let left = ends.as_second() - jiff::Timestamp::now().as_second();
    ensure!((590..=600).contains(&left), "{left} s");
    let error = world.subscribe(&token).await.map(|_| ()).expect_err("it may publish alone");
    ensure!(error.to_string().contains("403"), "{error}");

    world.broker.reconfigure(|config| {
        let access = &mut config.channels[0].access;
        let class = Quota { name: "few".into(), publishes_per_second: 1, ..Quota::default() };
        access.kubernetes.iter_mut().for_each(|pods| pods.quota = Some("few".into()));
        access.quotas = vec![class];
    })?;
    world.publishes(&token, 429, WAIT_TIMEOUT).await?;

    world.unbind("shop", "publish").await?;
    world.publishes(&token, 403, FORGET_TIMEOUT).await?;
    Ok(())
}

#[tokio::test]
async fn a_token_is_good_for_its_audience_and_its_account_alone() -> Result<()> {
    let world = World::start(true).await?;
    world.account("shop").await?;
    world.bind(&world.namespace, "shop", "publish").await?;
    let good = world.token("shop", AUDIENCE).await?;
    world.publishes(&good, 201, WAIT_TIMEOUT).await?;

    // A token that the API server itself accepts must be of no use here.
    let of_api_server = world.server.token(&world.namespace, "shop").await?;
    let other = world.token("shop", "another").await?;
    for (token, check) in [(of_api_server, "audience"), (other, "audience")] {
        let answer = world.publish(&token).await?;
        let detail = answer.json["detail"].as_str().unwrap_or_default();
        ensure!(answer.status == 401 && detail.contains(check), "{} {detail}", answer.status);
    }
    // The claims of a good token, and a signature that is not the cluster's.
    let (signed, _) = good.rsplit_once('.').context("no signature")?;
    let forged = format!("{signed}.{}", URL_SAFE_NO_PAD.encode([7; 256]));
    let answer = world.publish(&forged).await?;
    ensure!(answer.status == 401, "{} {}", answer.status, answer.json);
    // Another account of the same name, in another namespace.
    let elsewhere = temp_namespace(&world.admin).await?;
    create::<ServiceAccount>(&world.admin, &elsewhere, json!({"metadata": {"name": "shop"}}))
        .await?;
    let spec = TokenRequestSpec { audiences: vec![AUDIENCE.into()], ..TokenRequestSpec::default() };
    let foreign = world.server.token_with(&elsewhere, "shop", spec).await?;
    let answer = world.publish(&foreign).await?;
    ensure!(answer.status == 403, "{} {}", answer.status, answer.json);
    world.bind(&elsewhere, "shop", "subscribe").await?;
    eventually("a role counts for accounts of other namespaces", WAIT_TIMEOUT, || async {
        world.subscribe(&foreign).await.map(|_| ())
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn the_api_server_is_asked_once_for_a_token_and_never_for_garbage() -> Result<()> {
    let world = World::start(true).await?;
    world.account("shop").await?;
    world.bind(&world.namespace, "shop", "publish").await?;
    let good = world.token("shop", AUDIENCE).await?;
    let encoded =
        |claims: Value| format!("e30.{}.c2ln", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let garbage = [
        "x".to_owned(),
        "a.b.c".to_owned(),
        "a.b.c.d".to_owned(),
        encoded(json!({"aud": ["another"], "exp": 4_000_000_000_u64})),
        encoded(json!({"aud": [AUDIENCE], "exp": 1})),
        encoded(json!({"aud": [AUDIENCE]})),
        encoded(json!({"aud": [AUDIENCE], "exp": 4_000_000_000_u64, "x": "x".repeat(9000)})),
        good.rsplit_once('.').context("no signature")?.0.to_owned(),
    ];
    let http = client(Version::Http1);
    let (began, url) = (Instant::now(), world.url("events"));
    for round in 0..25_u32 {
        // From many addresses, so that it is not their number that stops them.
        let from = |i: usize| format!("10.{round}.{}.{}", i / 200, i % 200);
        let requests = (0..80_usize).map(|i| {
            let token = &garbage[i % garbage.len()];
            let request = http.post(&url).bearer_auth(token).header("X-Forwarded-For", from(i));
            async { anyhow::Ok(request.body("x").send().await?.status().as_u16()) }
        });
        for status in try_join_all(requests).await? {
            ensure!(status == 401 || status == 431, "{status}");
        }
    }
    eprintln!("2000 bad tokens in {:?}", began.elapsed());
    assert_eq!(world.asked("tokenreviews")?, 0);

    let answers = try_join_all((0..100).map(|_| world.publish(&good))).await?;
    ensure!(answers.iter().all(|answer| answer.status == 201), "{answers:?}");
    assert_eq!(world.asked("tokenreviews")?, 1, "they share one question");
    assert_eq!(world.asked("localsubjectaccessreviews")?, 3, "one for each verb");
    let log = world.broker.log();
    for token in garbage.iter().chain([&good]).filter(|token| token.len() > 20) {
        ensure!(!log.contains(&**token), "a token stands in the log");
    }
    Ok(())
}

#[tokio::test]
async fn without_the_api_server_streams_go_on_and_new_tokens_wait() -> Result<()> {
    let world = World::start(true).await?;
    world.account("shop").await?;
    world.bind(&world.namespace, "shop", "publish").await?;
    world.bind(&world.namespace, "shop", "subscribe").await?;
    let known = world.token("shop", AUDIENCE).await?;
    let unknown = world.token("shop", AUDIENCE).await?;
    ensure!(known != unknown, "two tokens are one");
    world.publishes(&known, 201, WAIT_TIMEOUT).await?;
    let mut running = world.subscribe(&known).await?;

    world.server.pause()?;
    let answer = world.publish(&unknown).await?;
    ensure!(answer.status == 503, "{} {}", answer.status, answer.json);
    ensure!(answer.header("retry-after").is_some(), "{:?}", answer.headers);
    // A browser gives up for ever after an error: a stream says that it is not now.
    let mut refused = world.subscribe(&unknown).await?;
    let closing = refused.next_of("eventcast.closing", WAIT_TIMEOUT).await?;
    ensure!(closing.data.contains("unavailable"), "{closing:?}");
    // What was answered before still counts.
    let straight = world.nats.client().await?;
    straight.publish(format!("sse.{}.orders.all", world.namespace), "news".into()).await?;
    straight.flush().await?;
    while running.next_data(WAIT_TIMEOUT).await?.data != "news" {}

    world.server.resume()?;
    world.publishes(&unknown, 201, WAIT_TIMEOUT).await?;
    Ok(())
}

#[tokio::test]
async fn a_broker_without_rights_says_so_and_judges_nobody() -> Result<()> {
    let world = World::start(false).await?;
    world.account("shop").await?;
    world.bind(&world.namespace, "shop", "publish").await?;
    let token = world.token("shop", AUDIENCE).await?;
    let answer = world.publish(&token).await?;
    ensure!(answer.status == 503, "{} {}", answer.status, answer.json);
    let state = world.state().await?;
    let problem = state.channels[0].access.first().context("no problem is reported")?;
    assert_eq!((&*problem.what, problem.reason), ("kubernetes", AccessReason::NoReviewRights));
    ensure!(problem.detail.contains("tokenreviews"), "{}", problem.detail);

    world.allow_reviews().await?;
    world.publishes(&token, 201, WAIT_TIMEOUT).await?;
    let state = world.state().await?;
    ensure!(state.channels[0].access.is_empty(), "{state:?}");
    Ok(())
}

#[tokio::test]
async fn a_token_ends_with_its_pod() -> Result<()> {
    let world = World::start(true).await?;
    world.account("shop").await?;
    world.bind(&world.namespace, "shop", "publish").await?;
    let pod = json!({"metadata": {"name": "shop"}, "spec": {
        "serviceAccountName": "shop", "containers": [{"name": "a", "image": "none.invalid/a"}]}});
    world.create::<Pod>(pod).await?;
    let pods: Api<Pod> = Api::namespaced(world.admin.clone(), &world.namespace);
    let bound = BoundObjectReference {
        api_version: Some("v1".into()),
        kind: Some("Pod".into()),
        name: Some("shop".into()),
        uid: pods.get("shop").await?.metadata.uid,
    };
    let spec = TokenRequestSpec {
        audiences: vec![AUDIENCE.into()],
        bound_object_ref: Some(bound),
        ..TokenRequestSpec::default()
    };
    let token = world.server.token_with(&world.namespace, "shop", spec).await?;
    world.publishes(&token, 201, WAIT_TIMEOUT).await?;
    pods.delete("shop", &DeleteParams { grace_period_seconds: Some(0), ..DeleteParams::default() })
        .await?;
    // A minute of the broker, and ten seconds of the API server.
    let took = world.publishes(&token, 401, Duration::from_secs(72)).await?;
    eprintln!("a deleted pod is refused after {took:?}");
    Ok(())
}
