// The page: the caller, the view, and the clock that keeps it fresh.
import { clockSeconds, shortened } from "./format.js";
import { announce, button, failure, field, foreign, h, refill, toast } from "./dom.js";
import { call } from "./api.js";
import { VIEWS, here, viewLink, watchAddress } from "./address.js";
import { ActivityView } from "./activity.js";
import { CallDrawer } from "./call.js";
import { CallsView } from "./calls.js";
import { ModelsView } from "./models.js";
import { KeysView } from "./keys.js";
import { TryView } from "./try.js";

const REFRESH_MS = 5000;
const CATALOG_MS = 60000; // how long views that only offer names use the same list of models
const MAKERS = { activity: ActivityView, calls: CallsView, models: ModelsView, keys: KeysView, try: TryView };
const THEMES = {
  auto: ["auto", "Colours follow the system", "light"],
  light: ["sun", "Light colours", "dark"],
  dark: ["moon", "Dark colours", "auto"],
};
const PREFERENCES = "llm-router-page";

function preferences() {
  try {
    return JSON.parse(localStorage.getItem(PREFERENCES)) ?? {};
  } catch {
    return {}; // no storage for this page, or not ours
  }
}

function prefer(changes) {
  try {
    localStorage.setItem(PREFERENCES, JSON.stringify({ ...preferences(), ...changes }));
  } catch {
    // then it lasts as long as the page
  }
}

class App {
  constructor() {
    Object.assign(this, {
      me: null,
      view: null,
      viewName: "",
      drawer: null,
      neighbours: [],
      isLive: preferences().live !== false,
      lostAt: null,
      seenAt: null,
      isAsking: false,
    });
    this.main = document.getElementById("main");
    this.banner = document.getElementById("banner");
    this.theme = preferences().theme in THEMES ? preferences().theme : "auto";
    document.documentElement.dataset.theme = this.theme;
  }

  async start() {
    watchAddress((moved) => this.moved(moved));
    document.querySelector(".skip").addEventListener("click", (event) => {
      event.preventDefault();
      this.main.focus();
    });
    document.addEventListener("visibilitychange", () => this.tick());
    setInterval(() => this.tick(), REFRESH_MS);
    await this.enter();
  }

  /** Loads the caller, then the view; or the step that is needed first. */
  async enter() {
    try {
      this.me = await call("GET", "monitor/me");
    } catch (error) {
      this.drawTop();
      refill(
        this.main,
        failure(error, () => this.enter()),
      );
      this.lostAt = new Date();
      return;
    }
    this.found();
    if (this.me.needs_login) this.login();
    else this.moved(false);
  }

  // -- the frame

  drawTop() {
    const given = here(),
      isIn = this.me && !this.me.needs_login;
    refill(
      document.getElementById("nav"),
      isIn
        ? h(
            "ul",
            {},
            VIEWS.map(([name, text]) =>
              h(
                "li",
                {},
                h(
                  "a",
                  {
                    href: viewLink(name, { range: name === "activity" || name === "calls" ? given.range : "" }),
                    "aria-current": name === given.view ? "page" : null,
                    "data-key": `nav:${name}`,
                  },
                  text,
                ),
              ),
            ),
          )
        : null,
    );
    const [drawing, words, next] = THEMES[this.theme];
    refill(
      document.getElementById("tools"),
      isIn ? this.liveButton() : null,
      button(words, () => this.setTheme(next), {
        icon: drawing,
        bare: true,
        class: "ghost",
        title: `${words}; press for ${THEMES[next][1].toLowerCase()}`,
        "data-key": "theme",
      }),
      isIn && this.me.by_cookie
        ? button("Sign out", () => this.logout(), {
            icon: "out",
            bare: true,
            class: "ghost",
            title: `Signed in as ${shortened(this.me.caller.name, 60)}: sign out`,
            "data-key": "logout",
          })
        : null,
    );
  }

  liveButton() {
    const [kind, words] = this.lostAt ? ["lost", "Not reachable"] : this.isLive ? ["live", "Live"] : ["paused", "Paused"];
    return h(
      "button",
      {
        type: "button",
        class: `live ${kind}`,
        "aria-pressed": String(this.isLive),
        "data-key": "live",
        title: this.seenAt ? `Last data ${clockSeconds(this.seenAt)}; press to ${this.isLive ? "pause" : "go on"}` : null,
        onclick: () => this.setLive(!this.isLive),
      },
      h("span", { class: "live-dot", "aria-hidden": "true" }),
      h("span", {}, words),
      h("span", { class: "unseen" }, ": refresh every 5 seconds"),
    );
  }

  setLive(isLive) {
    this.isLive = isLive;
    prefer({ live: isLive });
    this.drawTop();
    announce(isLive ? "Live again." : "Paused.");
    if (isLive) this.refresh();
  }

  setTheme(theme) {
    this.theme = document.documentElement.dataset.theme = theme;
    prefer({ theme });
    this.drawTop();
    announce(THEMES[theme][1]);
  }

  // -- views

  /** The address is another one: by a link, by back or forward, or by a filter. */
  moved(hasMoved) {
    if (!this.me || this.me.needs_login) return;
    const given = here();
    document.title = `${VIEWS.find(([name]) => name === given.view)[1]} · llm-router`;
    if (given.view !== this.viewName) this.show(given.view, hasMoved);
    else this.view.moved();
    this.drawTop();
    this.moveDrawer(given.call);
    this.refresh();
  }

  show(name, hasMoved) {
    this.view?.leave?.();
    this.viewName = name;
    this.main.replaceChildren();
    this.main.dataset.view = name;
    this.view = new MAKERS[name](this.main, this);
    if (!hasMoved) return;
    scrollTo(0, 0);
    this.main.querySelector("h1").focus({ preventScroll: true });
  }

  moveDrawer(id) {
    if (this.drawer?.id === id) return;
    const old = this.drawer;
    this.drawer = null;
    old?.dialog.close();
    if (id) this.drawer = new CallDrawer(this, id);
  }

  // -- fresh data

  tick() {
    if (document.visibilityState !== "visible") return;
    if (!this.me) this.enter();
    else if ((this.isLive || this.lostAt) && !this.me.needs_login && !this.isAsking) this.refresh();
  }

  /** Makes the view fetch; a failure keeps the old data and shows an error. A call while one runs is queued after it. */
  async refresh() {
    if (this.isAsking) {
      this.again = true;
      return;
    }
    this.isAsking = true;
    const view = this.view;
    try {
      await view.refresh();
      this.found(); // the try view fetches nothing: no harm, its own calls tell their failures
    } catch (error) {
      this.lost(error, view);
    } finally {
      this.isAsking = false;
    }
    if (this.again) {
      this.again = false;
      if (this.view) await this.refresh(); // none while a login is asked for
    }
  }

  found() {
    const wasLost = this.lostAt;
    this.lostAt = null;
    this.seenAt = new Date();
    if (wasLost) announce("The gateway answers again.");
    if (this.banner.childElementCount) refill(this.banner);
    this.drawTop();
  }

  lost(error, view) {
    if (error.status === 401 || (error.status === 403 && !view.data)) {
      this.loggedOut(error);
      return;
    }
    view.failed(error, () => this.refresh());
    if (error.code === "store_off") return; // it answers; there is just nothing to show
    if (!error.code) throw error; // a fault of this page: to the console with it
    this.lostAt ??= new Date();
    const words = error.isUnreachable
      ? `The gateway has not answered since ${clockSeconds(this.lostAt)}.`
      : `The gateway answers with an error since ${clockSeconds(this.lostAt)}: ${error.message}`;
    const kept = view.data && this.seenAt ? ` What you see is from ${clockSeconds(this.seenAt)}.` : "";
    const text = words + kept + " Trying again every 5 seconds.";
    if (this.banner.textContent !== text) refill(this.banner, h("p", { class: "notice bad" }, foreign(text)));
    this.drawTop();
  }

  async catalog() {
    if (!this.models || Date.now() - this.modelsAt > CATALOG_MS) this.remember(await call("GET", "monitor/models"));
    return this.models;
  }

  remember(models) {
    this.models = models;
    this.modelsAt = Date.now();
  }

  // -- the caller

  loggedOut(error) {
    this.me.needs_login = true;
    this.login(error.status === 403 ? error : null);
  }

  login(error = null) {
    this.view?.leave?.();
    this.view = null;
    this.viewName = "";
    this.drawTop();
    refill(this.banner);
    document.title = "Sign in · llm-router";
    const key = h("input", { type: "password", autocomplete: "current-password", required: true, spellcheck: "false" });
    const wrong = h("div", { role: "alert" }, error ? foreign(error.message) : null);
    const submit = h("button", { type: "submit", class: "primary" }, "Sign in");
    // What a password manager files the key under.
    const user = h("input", { type: "text", autocomplete: "username", value: "admin", hidden: true });
    const form = h(
      "form",
      { class: "panel login", onsubmit: (event) => this.signIn(event, key, wrong, submit) },
      h("h1", { tabindex: "-1" }, "Sign in"),
      h("p", { class: "muted" }, "This page shows all requests of all callers, so it needs an admin key of this gateway."),
      user,
      field("Admin key", key),
      wrong,
      submit,
      h(
        "p",
        { class: "hint" },
        this.me?.can_login === false
          ? "There is none yet. On the gateway's machine: llm-router-gateway keys create --name NAME --admin. Or set LLM_ROUTER_ADMIN_TOKEN."
          : "admin_token in [server], or a key made with keys create --admin. The browser keeps a session, not the key.",
      ),
    );
    refill(this.main, form);
    key.focus();
  }

  async signIn(event, key, wrong, submit) {
    event.preventDefault();
    refill(wrong);
    submit.disabled = true;
    try {
      await call("POST", "monitor/login", { body: { key: key.value } });
      key.value = "";
      await this.enter();
      if (!this.me?.needs_login) this.main.querySelector("h1")?.focus();
    } catch (error) {
      refill(
        wrong,
        h("p", { class: "wrong" }, foreign(error.message), " ", error.status === 401 || error.status === 403 ? "" : error.step),
      );
      key.select();
    } finally {
      submit.disabled = false;
    }
  }

  async logout() {
    try {
      await call("POST", "monitor/logout", { body: {} });
    } catch (error) {
      toast(`${error.message} ${error.step}`, "error");
      return;
    }
    await this.enter();
  }

  /** The first key ends open access: log in with it at once, or the next refresh is refused. */
  async madeKey({ key, item }) {
    if (this.me.by_cookie || !item.is_admin) return;
    await call("POST", "monitor/login", { body: { key } }).catch(() => null);
    this.me = await call("GET", "monitor/me").catch(() => this.me);
  }
}

new App().start();
