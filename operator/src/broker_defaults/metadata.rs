//! Labels and annotations that the objects of a channel get.

use std::collections::BTreeMap;

use wildmatch::WildMatchPattern;

use super::BrokerDefaults;

/// Prefixes of keys that are never inherited, whatever the patterns: they say who manages the channel itself. Argo CD, for example, would
/// delete objects that have its tracking id and are not in git.
const NEVER_INHERITED: [&str; 7] = [
    "eventcast.dev/",
    "argocd.argoproj.io/",
    "helm.sh/",
    "helm.toolkit.fluxcd.io/",
    "kubectl.kubernetes.io/",
    "kustomize.toolkit.fluxcd.io/",
    "meta.helm.sh/",
];

impl BrokerDefaults {
    /// Labels of the objects of a channel that has the labels `of_channel`, besides the operator's own.
    #[must_use]
    pub fn labels_for(&self, of_channel: &BTreeMap<String, String>) -> BTreeMap<String, String> {
        merged(&self.labels, &self.inherit_labels, of_channel)
    }

    /// Annotations of the objects of a channel that has the annotations `of_channel`.
    #[must_use]
    pub fn annotations_for(
        &self,
        of_channel: &BTreeMap<String, String>,
    ) -> BTreeMap<String, String> {
        merged(&self.annotations, &self.inherit_annotations, of_channel)
    }
}

fn merged(
    fixed: &BTreeMap<String, String>,
    patterns: &[String],
    of_channel: &BTreeMap<String, String>,
) -> BTreeMap<String, String> {
    let inherited = of_channel.iter().filter(|(key, _)| {
        !NEVER_INHERITED.iter().any(|prefix| key.starts_with(prefix))
            && patterns.iter().any(|pattern| matches(pattern, key))
    });
    let mut all = fixed.clone();
    all.extend(inherited.map(|(key, value)| (key.clone(), value.clone())));
    all
}

/// Whether `key` matches `pattern`, in which `*` stands for any characters. No other character is special: keys have no U+0000.
fn matches(pattern: &str, key: &str) -> bool {
    WildMatchPattern::<'*', '\0'>::new(pattern).matches(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters() {
        for (pattern, key, expected) in [
            ("team", "team", true),
            ("team", "teams", false),
            ("*", "anything/at-all", true),
            ("cost.example.com/*", "cost.example.com/centre", true),
            ("cost.example.com/*", "costs.example.com/centre", false),
            ("*/centre", "cost.example.com/centre", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-c-b", false),
            ("", "a", false),
        ] {
            assert_eq!(matches(pattern, key), expected, "{pattern} {key}");
        }
    }

    #[test]
    fn a_channel_passes_on_what_the_patterns_select_and_never_what_manages_it() {
        let pairs = |text: &str| -> BTreeMap<String, String> {
            text.split(' ').map(|pair| pair.split_once('=').unwrap()).map(own).collect()
        };
        fn own((key, value): (&str, &str)) -> (String, String) {
            (key.to_owned(), value.to_owned())
        }
        let defaults = BrokerDefaults {
            labels: pairs("team=platform zone=a"),
            inherit_labels: vec!["team".into(), "cost/*".into()],
            inherit_annotations: vec!["*".into()],
            ..BrokerDefaults::default()
        };
        let labels = defaults.labels_for(&pairs("team=shop cost/centre=7 other=x"));
        assert_eq!(labels, pairs("team=shop zone=a cost/centre=7"), "the channel's own wins");
        let annotations = defaults.annotations_for(&pairs(
            "note=x argocd.argoproj.io/tracking-id=y eventcast.dev/paused=false \
             kubectl.kubernetes.io/last-applied-configuration={}",
        ));
        assert_eq!(annotations, pairs("note=x"));
    }
}
