// The end of a stream's grant, as its client tells of it.

import { duration } from "./page-dom.js";

export const secondsLeft = ({ endsAt }) => (endsAt === null ? null : Math.max(0, Math.ceil((endsAt - Date.now()) / 1000)));

// What the reader of the page should know, or do.
export function grantText(grant) {
  if (!grant.ending) return "";
  const what = `The grant of this stream ends in ${duration(secondsLeft(grant))}.`;
  if (grant.renewing) return `${what} Renewing it…`;
  const why = grant.problem === null ? "Its token ends too: use a fresh one to go on." : `It could not be renewed. ${grant.problem.message}`;
  return `${what} ${why}`;
}
