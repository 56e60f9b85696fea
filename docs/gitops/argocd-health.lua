-- The health of an EventChannel or BrokerPool for Argo CD (docs/gitops/ARGOCD.md says where to put it).
-- Lua 5.1, without libraries, as in Argo CD.

local function condition(name)
  for _, c in ipairs((obj.status or {}).conditions or {}) do
    if c.type == name then
      return c
    end
  end
end

local function health(status, message)
  return { status = status, message = message }
end

local annotations = obj.metadata.annotations or {}
if annotations["eventcast.dev/paused"] == "true" then
  return health("Suspended", "reconciliation is paused by the annotation eventcast.dev/paused")
end

local status = obj.status or {}
if status.observedGeneration ~= obj.metadata.generation then
  return health("Progressing", "waiting for the operator to see this generation")
end

local stalled = condition("Stalled")
if stalled ~= nil and stalled.status == "True" then
  return health("Degraded", stalled.reason .. ": " .. stalled.message)
end

local ready = condition("Ready")
if ready == nil then
  return health("Progressing", "waiting for the operator")
end
if ready.status == "True" then
  return health("Healthy", ready.message)
end
if ready.reason == "ScaledToZero" then
  return health("Suspended", ready.message)
end
return health("Progressing", ready.reason .. ": " .. ready.message)
