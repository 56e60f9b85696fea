//! Every credential at every endpoint, as a table: what a client gets that has none, a bad one, one that has ended, one that is not
//! enough, or one that cannot be judged now. The rules are in docs/ACCESS.md (refusals) and docs/HTTP.md (access).

mod fixture;

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use eventcast_tests::{init_tracing, wire::HTTP_VERSIONS};
use futures_util::future::try_join_all;

use self::fixture::Fixture;

/// How a client sends its credential, and which kind it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Carrier {
    /// A JSON Web Token in `Authorization`.
    Token,
    /// An API key in `Authorization`.
    Key,
    /// A ticket in the URL.
    Ticket,
    /// A JSON Web Token in the cookie that the URL asks for.
    CookieToken,
    /// A ticket in this cookie.
    CookieTicket,
}

use Carrier::{CookieTicket, CookieToken, Key, Ticket, Token};

const CARRIERS: [Carrier; 5] = [Token, Key, Ticket, CookieToken, CookieTicket];

/// What the credential is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum State {
    None,
    /// It grants everything that its kind can.
    Good,
    /// It grants `user.ann`, and the request is about `user.bob` or needs the right to manage.
    Ungranted,
    /// A key that only publishes, only reads, only manages.
    Writes,
    Reads,
    Manages,
    /// Signed with another key, or another secret, or changed.
    Bad,
    Expired,
    Revoked,
    /// Good, at a broker that has neither its keys nor NATS.
    Unjudged,
}

use State::{Bad, Expired, Good, Manages, Reads, Revoked, Ungranted, Unjudged, Writes};

const STATES: [State; 10] =
    [State::None, Good, Ungranted, Writes, Reads, Manages, Bad, Expired, Revoked, Unjudged];

/// What a client must get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Expected {
    /// The success status of the endpoint.
    Fine,
    /// `401 credential-required`, `WWW-Authenticate: Bearer`.
    Needed,
    /// `401 invalid-credential` with this check, `Bearer error="invalid_token"`.
    Invalid(&'static str),
    /// `403 not-granted`, `Bearer error="insufficient_scope"`.
    Denied,
    /// `403 another-client`.
    Another,
    /// A stream: 200 and the closing event `unavailable`. Anything else: 503 with `Retry-After`.
    Later,
}

use Expected::{Another, Denied, Fine, Invalid, Later, Needed};

type Row = (State, &'static [Carrier], [Expected; 7]);

/// The columns are the groups of [`ENDPOINTS`].
#[rustfmt::skip]
const TABLE: [Row; 21] = [
    //                                       read    describe  write    access  tickets  renewals  subscribers
    (State::None, &[Token],                 [Needed, Needed,   Needed,  Fine,   Needed,  Needed,   Needed]),
    (State::None, &[CookieToken],           [Invalid("no-cookie"); 7]),
    (Good, &[Token, Key, CookieToken],      [Fine; 7]),
    (Good, &[Ticket, CookieTicket],         [Fine,   Fine,     Denied,  Fine,   Denied,  Denied,   Denied]),
    (Ungranted, &[Token, Key, CookieToken], [Denied, Fine,     Denied,  Fine,   Denied,  Another,  Denied]),
    (Ungranted, &[Ticket, CookieTicket],    [Denied, Fine,     Denied,  Fine,   Denied,  Denied,   Denied]),
    (Writes, &[Key],                        [Denied, Denied,   Fine,    Fine,   Denied,  Denied,   Denied]),
    (Reads, &[Key],                         [Fine,   Fine,     Denied,  Fine,   Fine,    Another,  Denied]),
    (Manages, &[Key],                       [Denied, Denied,   Denied,  Fine,   Denied,  Denied,   Fine]),
    (Bad, &[Token],                         [Invalid("signature"); 7]),
    (Bad, &[Key],                           [Invalid("unknown-key"); 7]),
    (Bad, &[Ticket],                        [Invalid("form"); 7]),
    (Bad, &[CookieToken],                   [Invalid("signature"); 7]),
    (Bad, &[CookieTicket],                  [Invalid("form"); 7]),
    (Expired, &[Token, Key],                [Invalid("expired"); 7]),
    (Expired, &[Ticket],                    [Invalid("expired"); 7]),
    (Expired, &[CookieToken, CookieTicket], [Invalid("expired"); 7]),
    (Revoked, &[Token],                     [Invalid("revoked"); 7]),
    (Revoked, &[Ticket],                    [Invalid("revoked"); 7]),
    (Revoked, &[CookieToken, CookieTicket], [Invalid("revoked"); 7]),
    (Unjudged, &CARRIERS,                   [Later; 7]),
];

/// Combinations that do not exist, and why.
const IMPOSSIBLE: [(State, &[Carrier], &str); 6] = [
    (State::None, &[Key, Ticket], "the same request as without a token"),
    (State::None, &[CookieTicket], "the same request as without a token in the cookie"),
    (Writes, &[Token, Ticket, CookieToken, CookieTicket], "an API key shows what a grant does"),
    (Reads, &[Token, Ticket, CookieToken, CookieTicket], "an API key shows what a grant does"),
    (Manages, &[Token, Ticket, CookieToken, CookieTicket], "an API key shows what a grant does"),
    (Revoked, &[Key], "an API key is removed instead, and unknown then"),
];

/// An endpoint of the channel. In `path` and `body`, `TOPIC` stands for the topic that the request is about, `RENEWAL` for the
/// renewal of a ticket of `admin`, or of the API key.
struct Endpoint {
    name: &'static str,
    /// The column of [`TABLE`].
    group: usize,
    method: &'static str,
    path: &'static str,
    accept: &'static str,
    content_type: &'static str,
    body: &'static str,
    success: u16,
}

const GET: Endpoint = Endpoint {
    name: "",
    group: 0,
    method: "GET",
    path: "",
    accept: "*/*",
    content_type: "text/plain",
    body: "",
    success: 200,
};
const POST: Endpoint = Endpoint { method: "POST", success: 201, ..GET };
const DELETE: Endpoint = Endpoint { method: "DELETE", ..GET };
const STREAM: &str = "text/event-stream";
const JSON: &str = "application/json";

#[rustfmt::skip]
const ENDPOINTS: [Endpoint; 13] = [
    Endpoint { name: "subscribe", group: 0, path: "/events?topic=TOPIC", accept: STREAM, ..GET },
    Endpoint { name: "last", group: 0, path: "/events?topic=TOPIC&from=last:1", accept: STREAM, ..GET },
    Endpoint { name: "history", group: 0, path: "/events?topic=TOPIC", accept: JSON, ..GET },
    Endpoint { name: "stats", group: 0, path: "/stats?topic=TOPIC", ..GET },
    Endpoint { name: "description", group: 1, path: "", ..GET },
    Endpoint { name: "publish", group: 2, path: "/events?topic=TOPIC", body: "x", ..POST },
    Endpoint {
        name: "batch", group: 2, path: "/events", content_type: "application/x-ndjson",
        body: "{\"data\":\"x\",\"topic\":\"TOPIC\"}\n", ..POST
    },
    Endpoint { name: "erase", group: 2, path: "/events?topic=TOPIC", success: 204, ..DELETE },
    Endpoint { name: "access", group: 3, path: "/access", ..GET },
    Endpoint { name: "tickets", group: 4, path: "/tickets", body: "{\"topics\":[\"TOPIC\"]}", ..POST },
    Endpoint { name: "renewals", group: 5, path: "RENEWAL", success: 200, ..POST },
    Endpoint { name: "list", group: 6, path: "/subscribers", ..GET },
    Endpoint { name: "disconnect", group: 6, path: "/subscribers?subject=nobody", ..DELETE },
];
#[test]
fn the_table_has_every_combination_once() {
    let rows = TABLE.iter().map(|(state, carriers, _)| (*state, *carriers));
    let impossible = IMPOSSIBLE.iter().map(|(state, carriers, _)| (*state, *carriers));
    let all =
        rows.chain(impossible).flat_map(|(s, carriers)| carriers.iter().map(move |c| (s, *c)));
    let (all, distinct): (Vec<_>, BTreeSet<_>) = (all.clone().collect(), all.collect());
    assert_eq!(all.len(), distinct.len(), "a combination stands there twice");
    let wanted = STATES.iter().flat_map(|s| CARRIERS.map(|carrier| (*s, carrier)));
    assert_eq!(distinct, wanted.collect());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_credential_gets_at_every_endpoint_what_the_table_says() -> Result<()> {
    init_tracing();
    let fixture = &Fixture::start().await?;
    let mut wrong = Vec::new();
    for version in HTTP_VERSIONS {
        for (state, carriers, row) in &TABLE {
            // Those of one row at the same time: what cannot be judged takes two seconds to be answered.
            let checks = carriers.iter().flat_map(|carrier| {
                ENDPOINTS.iter().map(move |endpoint| async move {
                    let expected = row[endpoint.group];
                    let checked =
                        fixture.check(version, endpoint, (*state, *carrier), expected).await.err();
                    let name = endpoint.name;
                    anyhow::Ok(checked.map(|error| {
                        format!(
                            "{version:?} {state:?} {carrier:?} {name} ({expected:?}): {error:#}"
                        )
                    }))
                })
            });
            wrong.extend(try_join_all(checks).await?.into_iter().flatten());
        }
    }
    ensure!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    Ok(())
}
