//! Concludes from the observations of a probe what keeps events from clients. Pure.

use std::time::Duration;

use eventcast_crds::broker_status::{DeliveryProblem, DeliveryReason, DeliveryReport};
use eventcast_wire::proxy_advice::{Proxy, advice};

use super::{
    Settings,
    certificate::CertificateStatus,
    run::{Answer, Awaited, End, Observation},
};

/// The result of a probe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Nothing can be concluded, and why.
    Inconclusive(&'static str),
    Report(DeliveryReport),
}

impl Verdict {
    /// Adds the problems that a probe over HTTP/1.1 has found.
    pub(super) fn with_http1(self, other: Option<Self>) -> Self {
        let (Self::Report(mut report), Some(Self::Report(other))) = (self.clone(), other) else {
            return self;
        };
        for problem in other.problems {
            if report.problems.iter().all(|known| known.reason != problem.reason) {
                let detail = format!("over HTTP/1.1: {}", problem.detail);
                report.problems.push(DeliveryProblem { detail, ..problem });
            }
        }
        report.problems.sort();
        Self::Report(report)
    }
}

/// A stream was ended because of a silence, if that silence was longer by this than all earlier ones.
const SILENCE_MARGIN: Duration = Duration::from_secs(1);

/// Concludes what keeps events from clients.
pub(super) fn judge(seen: &Observation, settings: &Settings) -> Verdict {
    let proxy = Proxy::of(&seen.headers, settings.probe.proxy.as_deref());
    let mut problems = Vec::new();
    let mut add = |reason, what: String| {
        let advice = advice(reason, proxy);
        let detail = if advice.is_empty() { what } else { format!("{what}: {advice}") };
        problems.push(DeliveryProblem { reason, detail });
    };
    if let Some(CertificateStatus::Invalid(why)) = &seen.certificate {
        add(DeliveryReason::CertificateInvalid, why.clone());
    }
    match &seen.end {
        End::Complete => {}
        End::Closed => return Verdict::Inconclusive("the broker closed the stream"),
        End::Inconclusive(why) => return Verdict::Inconclusive(why),
        End::Unreachable(why) => add(DeliveryReason::Unreachable, why.clone()),
        End::Unexpected(answer) => add(DeliveryReason::UnexpectedAnswer, describe(answer)),
        End::Foreign => {
            let what = "the answer is a stream that no broker serves for this probe: a cache has answered, or the query of the URL is lost";
            add(DeliveryReason::UnexpectedAnswer, what.into());
        }
        End::Compressed(coding) => {
            add(DeliveryReason::Compressed, format!("the stream is compressed ({coding})"));
        }
        End::HeldBack(what) => add(DeliveryReason::Buffered, held_back(*what)),
        End::Cut { age, silence, survived } => {
            let is_idle = *silence > *survived + SILENCE_MARGIN;
            let reason =
                if is_idle { DeliveryReason::IdleTimeout } else { DeliveryReason::TimeLimit };
            add(reason, cut(*age, *silence, settings.heartbeat));
        }
    }
    if seen.body_rejected == Some(true) {
        let bytes = settings.largest_body.unwrap_or_default();
        let what = format!("a request with a body of {bytes} bytes is rejected (413)");
        add(DeliveryReason::BodyTooLarge, what);
    }
    problems.sort();
    Verdict::Report(DeliveryReport {
        url: settings.probe.url.clone(),
        http_version: seen.http_version.map(Into::into),
        first_byte_ms: seen.first_byte.map(millis),
        delay_ms: seen.delay.map(millis),
        problems,
    })
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

fn describe(answer: &Answer) -> String {
    let Answer { status, content_type, location } = answer;
    match (location, content_type) {
        (Some(location), _) => format!("the answer is a redirect ({status}) to {location}"),
        (None, Some(content_type)) => {
            format!("the answer has status {status} and type {content_type}")
        }
        (None, None) => format!("the answer has status {status} and no content type"),
    }
}

fn held_back(what: Awaited) -> String {
    match what {
        Awaited::Head => "a broker has answered, and the answer does not arrive",
        Awaited::FirstByte => {
            "the head of the answer arrives, and the first bytes of the stream do not"
        }
        Awaited::Event => "an event that a broker has sent does not arrive",
        Awaited::Heartbeat => "heartbeats do not arrive",
    }
    .into()
}

fn cut(age: Duration, silence: Duration, heartbeat: Duration) -> String {
    format!(
        "the stream was ended {:.0} s after the request and {:.0} s after the last byte (heartbeats come every {} s)",
        age.as_secs_f64(),
        silence.as_secs_f64(),
        heartbeat.as_secs()
    )
}

#[cfg(test)]
mod tests {
    use eventcast_crds::config::Probe;

    use super::*;

    fn settings() -> Settings {
        Settings {
            probe: Probe::new("https://a.example/x"),
            heartbeat: Duration::from_secs(15),
            largest_body: Some(4 << 20),
        }
    }

    fn problems(seen: &Observation) -> Vec<DeliveryProblem> {
        match judge(seen, &settings()) {
            Verdict::Report(report) => report.problems,
            Verdict::Inconclusive(why) => panic!("inconclusive: {why}"),
        }
    }

    fn ending(end: End) -> Observation {
        Observation { end, ..Observation::default() }
    }

    #[test]
    fn every_end_has_its_reason() {
        let cut = |age, silence, survived| End::Cut {
            age: Duration::from_secs(age),
            silence: Duration::from_secs(silence),
            survived: Duration::from_secs(survived),
        };
        let redirect = Answer { status: 302, location: Some("/login".into()), ..Answer::default() };
        for (end, reason) in [
            (End::Unreachable("no".into()), DeliveryReason::Unreachable),
            (End::Unexpected(redirect), DeliveryReason::UnexpectedAnswer),
            (End::Compressed("gzip".into()), DeliveryReason::Compressed),
            (End::HeldBack(Awaited::Event), DeliveryReason::Buffered),
            (cut(5, 3, 0), DeliveryReason::IdleTimeout),
            (cut(33, 16, 13), DeliveryReason::IdleTimeout),
            (cut(30, 4, 14), DeliveryReason::TimeLimit),
        ] {
            let found = problems(&ending(end));
            assert_eq!(found.iter().map(|p| p.reason).collect::<Vec<_>>(), [reason]);
            assert!(found[0].detail.contains(": "), "no advice: {}", found[0].detail);
        }
        assert_eq!(problems(&ending(End::Complete)), []);
        let closed = judge(&ending(End::Closed), &settings());
        assert!(matches!(closed, Verdict::Inconclusive(_)), "a refused stream proves nothing");
        let nothing = judge(&ending(End::Inconclusive("x")), &settings());
        assert_eq!(nothing, Verdict::Inconclusive("x"));
    }

    #[test]
    fn what_concerns_only_http_1_is_reported_as_such() {
        let verdict = |end| judge(&ending(end), &settings());
        let both = verdict(End::Complete).with_http1(Some(verdict(End::HeldBack(Awaited::Event))));
        let Verdict::Report(report) = both else { panic!() };
        assert!(report.problems[0].detail.starts_with("over HTTP/1.1: "), "{report:?}");
        let same = verdict(End::HeldBack(Awaited::Event));
        assert_eq!(same.clone().with_http1(Some(same.clone())), same);
        let unknown = verdict(End::Inconclusive("x"));
        assert_eq!(unknown.clone().with_http1(Some(same.clone())), unknown);
        assert_eq!(same.clone().with_http1(Some(unknown)), same);
    }

    #[test]
    fn several_problems_are_reported_the_worst_first() {
        let seen = Observation {
            certificate: Some(CertificateStatus::Invalid("expired".into())),
            body_rejected: Some(true),
            ..ending(End::HeldBack(Awaited::Head))
        };
        let found: Vec<_> = problems(&seen).iter().map(|p| p.reason.as_str()).collect();
        assert_eq!(found, ["CertificateInvalid", "Buffered", "BodyTooLarge"]);
        let unknown = Observation {
            certificate: Some(CertificateStatus::UnknownAuthority),
            ..Observation::default()
        };
        assert_eq!(problems(&unknown), [], "clients may know the authority");
    }
}
