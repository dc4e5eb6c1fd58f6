-- Argo CD's verdict on a FineTuneJob (resource.customizations.health.embedtune.dev_FineTuneJob).
-- As for a batch/v1 Job: Progressing until it is over, then Healthy or Degraded.
local verdicts = { -- the first condition that is True decides
  { "Complete", "Healthy" },
  { "Failed", "Degraded" },
  { "Stalled", "Degraded" },
  { "Suspended", "Suspended" },
  { "Running", "Progressing" },
  { "Reconciling", "Progressing" },
}
local status = obj.status
if status == nil or status.conditions == nil then
  return { status = "Progressing", message = "the operator has yet to see the job" }
end
if status.observedGeneration ~= obj.metadata.generation then
  return { status = "Progressing", message = "the operator has yet to see the spec's last change" }
end
for _, verdict in ipairs(verdicts) do
  for _, condition in ipairs(status.conditions) do
    if condition.type == verdict[1] and condition.status == "True" then
      local message = condition.reason .. ": " .. (condition.message or "")
      return { status = verdict[2], message = message }
    end
  end
end
return { status = "Progressing", message = status.reason }
