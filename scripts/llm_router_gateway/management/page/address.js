// The address bar is the state: ?view=calls&model=gpt-4.1&range=24h. A link leads anywhere, back and forward work.

export const RANGES = [
  ["1h", "1 h", 3600],
  ["24h", "24 h", 86400],
  ["7d", "7 d", 604800],
  ["30d", "30 d", 2592000],
];
export const VIEWS = [
  ["activity", "Activity"],
  ["calls", "Calls"],
  ["models", "Models"],
  ["keys", "Keys"],
  ["try", "Try it"],
];
/** What narrows the calls that are counted or listed; the names are those of the gateway's own query. */
export const FILTERS = ["model", "provider", "key", "status", "error", "protocol", "stream", "client", "tag", "user", "search"];

const CHANGED = "address";

/** The parameters as an object with a known view. */
export function here() {
  const given = Object.fromEntries(new URLSearchParams(location.search));
  given.view = VIEWS.some(([name]) => name === given.view) ? given.view : "activity";
  return given;
}

/** link({range: "1h"}) -> "?view=activity&range=1h": here, with these changed; empty ones are left out */
export function link(changes, base = here()) {
  const all = { view: "", ...base, ...changes }; // the view stands first
  const words = new URLSearchParams();
  for (const [name, value] of Object.entries(all)) {
    if (value !== "" && value !== null && value !== undefined) words.set(name, value);
  }
  return `?${words}`;
}

/** Another view, keeping range and filters only where they mean the same there. */
export function viewLink(view, changes = {}) {
  return link({ view, ...changes }, {});
}

export const rangeOf = (given) => (RANGES.some(([name]) => name === given.range) ? given.range : "24h");
export const filtersOf = (given) =>
  Object.fromEntries(FILTERS.filter((name) => given[name]).map((name) => [name, given[name]]));

export function go(href, { replace = false } = {}) {
  history[replace ? "replaceState" : "pushState"](null, "", location.pathname + href);
  dispatchEvent(new CustomEvent(CHANGED, { detail: { moved: !replace } }));
}

/** Calls `listener` after every change; links of this page are followed without loading it again. */
export function watchAddress(listener) {
  addEventListener(CHANGED, (event) => listener(event.detail.moved));
  addEventListener("popstate", () => listener(true));
  document.addEventListener("click", (event) => {
    const anchor = event.target.closest?.("a[href^='?']");
    if (!anchor || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey)
      return;
    event.preventDefault();
    go(anchor.getAttribute("href"));
  });
}
