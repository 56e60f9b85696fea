//! Pod templates, and whether the restricted Pod Security Standard admits them.

use serde_json::Value;

use super::title;

/// Every pod that the manifests make, with the title of its maker.
#[must_use]
pub fn specs(manifests: &[Value]) -> Vec<(String, &Value)> {
    let of = |manifest| {
        let (template, pod): (&Value, &Value) = (manifest, manifest);
        let spec = template.pointer("/spec/template/spec");
        let own = || (manifest["kind"] == "Pod").then(|| &pod["spec"]);
        spec.or_else(own).map(|spec| (title(manifest), spec))
    };
    manifests.iter().filter_map(of).collect()
}

/// Everything in a pod's specification that the restricted standard, or this project, forbids.
#[must_use]
pub fn faults(spec: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    let mut must = |holds: bool, what: &str| {
        if !holds {
            faults.push(what.to_owned());
        }
    };
    let of_pod = &spec["securityContext"];
    must(of_pod["runAsNonRoot"] == true, "runAsNonRoot");
    must(of_pod["seccompProfile"]["type"] == "RuntimeDefault", "seccompProfile");
    must(spec["enableServiceLinks"] == false, "enableServiceLinks");
    must(spec["automountServiceAccountToken"].is_boolean(), "automountServiceAccountToken is said");
    for namespace in ["hostNetwork", "hostPID", "hostIPC"] {
        must(spec[namespace].is_null(), namespace);
    }
    let of = |list: &str| spec[list].as_array().cloned().unwrap_or_default();
    for volume in of("volumes") {
        must(volume["hostPath"].is_null(), "hostPath");
    }
    let containers = [of("initContainers"), of("containers")].concat();
    must(!containers.is_empty(), "containers");
    for container in containers {
        let context = &container["securityContext"];
        must(context["allowPrivilegeEscalation"] == false, "allowPrivilegeEscalation");
        must(context["readOnlyRootFilesystem"] == true, "readOnlyRootFilesystem");
        must(context["capabilities"] == serde_json::json!({"drop": ["ALL"]}), "capabilities");
        must(context["privileged"].is_null(), "privileged");
        must(!container["resources"]["requests"]["memory"].is_null(), "requests");
        must(!container["resources"]["limits"]["memory"].is_null(), "limits");
        must(container["image"].as_str().is_some_and(|image| !image.ends_with(":latest")), "image");
    }
    faults
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_careless_pod_has_faults() {
        let faults = faults(&json!({"hostNetwork": true, "containers": [{"image": "a:latest"}]}));
        for fault in ["runAsNonRoot", "hostNetwork", "capabilities", "image"] {
            assert!(faults.iter().any(|have| have == fault), "{fault}: {faults:?}");
        }
    }
}
