"use strict";
// Keeps a page as the server sees it. Whatever somebody has begun (focus, typed text, ticked boxes, an open <details>, a
// selection, a scrolled table) stays, because elements are changed where they are and only where they differ. It adds a
// box that chooses all, and a key that leads to the search; all else is the server's. Without it every page still works.
(() => {
  const main = document.querySelector("[data-live]");
  const note = document.querySelector("#connection, #live");
  const AGAIN_MS = 10_000;
  const UNSEEN_MS = 60_000;
  const LOST = "Connection lost, trying again";

  // Changing what is there ---------------------------------------------------------------------------------------------

  const ours = (node) => node.nodeType === 1 && node.hasAttribute("data-own");

  // By what an element is known again when its neighbours come, go or move.
  function keyOf(node) {
    if (node.nodeType !== 1) return null;
    if (node.id) return "#" + node.id;
    // A form of another action must never come to be under a finger that is about to press a button.
    if (node.localName === "form") {
      const fields = node.querySelectorAll("input[type=hidden]:not([name=csrf])");
      return [node.getAttribute("action"), ...[...fields].map((one) => one.value)].join(" ");
    }
    const by = node.matches("a[href]") ? node
      : node.matches("tr, li, article") ? node.querySelector("a[href], input[name=job]") : null;
    return by && node.localName + " " + (by.getAttribute("href") || by.value);
  }

  const alike = (one, other) => one.nodeType === other.nodeType && one.nodeName === other.nodeName && !ours(one);

  function edited(node) {
    if (node.localName === "select") {
      return node === document.activeElement || [...node.options].some((one) => one.selected !== one.defaultSelected);
    }
    if (node.localName !== "input" && node.localName !== "textarea") return false;
    return node === document.activeElement || node.checked !== node.defaultChecked || node.value !== node.defaultValue;
  }

  function dress(node, want) {
    for (const { name, value } of [...want.attributes]) {
      if (name !== "open" && node.getAttribute(name) !== value) node.setAttribute(name, value);
    }
    for (const { name } of [...node.attributes]) {
      if (name !== "open" && !want.hasAttribute(name)) node.removeAttribute(name);
    }
  }

  function change(node, want) {
    if (node.isEqualNode(want)) return;
    if (node.nodeType !== 1) {
      if (node.data !== want.data) node.data = want.data;
      return;
    }
    if (edited(node)) return;
    dress(node, want);
    fill(node, want);
  }

  function fill(place, want) {
    const known = new Map();
    for (const one of place.childNodes) {
      const key = ours(one) ? null : keyOf(one);
      if (key && !known.has(key)) known.set(key, one);
    }
    const wanted = new Set([...want.childNodes].map(keyOf));
    const stays = (one) => ours(one) || (keyOf(one) && wanted.has(keyOf(one)));
    let at = place.firstChild;
    const skip = () => { while (at && ours(at)) at = at.nextSibling; };
    for (const next of [...want.childNodes]) {
      skip();
      const key = keyOf(next);
      let have = key ? known.get(key) : null;
      known.delete(key);
      if (have) {
        // What goes makes room; so what has the focus need not be moved, and keeps it.
        while (at && at !== have && !stays(at)) at = drop(at);
        skip();
      } else if (at && alike(at, next) && !stays(at)) {
        have = at;
      }
      if (!have) {
        place.insertBefore(document.importNode(next, true), at);
        continue;
      }
      if (have === at) at = at.nextSibling;
      else if (place.moveBefore) place.moveBefore(have, at);
      else place.insertBefore(have, at);
      change(have, next);
    }
    while (at) at = ours(at) ? at.nextSibling : drop(at);
  }

  function drop(node) {
    const next = node.nextSibling;
    node.remove();
    return next;
  }

  // Parts --------------------------------------------------------------------------------------------------------------

  const shown = new Map();

  function placeOf(name, after) {
    const found = document.getElementById("part-" + name);
    if (found) return found;
    const made = document.createElement("div");
    made.id = "part-" + name;
    made.dataset.part = name;
    const before = after === null ? null : document.getElementById("part-" + after);
    if (before) before.after(made);
    else main.prepend(made);
    return made;
  }

  function show({ name, html, after = null }) {
    if (shown.get(name) === html) return;
    shown.set(name, html);
    const place = placeOf(name, after);
    const had = place.contains(document.activeElement) ? document.activeElement : null;
    const parsed = document.createElement("template");
    parsed.innerHTML = html;
    fill(place, parsed.content);
    if (had && !had.isConnected) {
      // Its button is gone. Whoever reads by keyboard goes on here, not at the top of the page.
      place.tabIndex = -1;
      place.focus({ preventScroll: true });
    }
    const named = place.querySelector("[data-title]");
    if (named && document.title !== named.dataset.title) document.title = named.dataset.title;
    addChooser();
  }

  // The connection -----------------------------------------------------------------------------------------------------

  let source = null;
  let later = null;

  function say(words) {
    if (!note || note.textContent === words) return;
    note.textContent = words;
    note.classList.toggle("lost", words !== "");
  }

  function open() {
    clearTimeout(later);
    if (source || document.hidden) return;
    source = new EventSource(main.dataset.live);
    source.addEventListener("open", () => say(""));
    source.addEventListener("part", (event) => show(JSON.parse(event.data)));
    source.addEventListener("error", () => {
      say(LOST);
      if (!source || source.readyState !== EventSource.CLOSED) return;
      close();
      later = setTimeout(reload, AGAIN_MS);
    });
  }

  function close() {
    clearTimeout(later);
    if (source) source.close();
    source = null;
  }

  // The server takes no more streams, or says why this one has ended: then the page is loaded, and put in place as well.
  async function reload() {
    try {
      const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
      const gone = answer.status >= 400 && answer.status < 500 && answer.status !== 429;
      if (answer.redirected || gone) return location.reload();
      if (answer.ok) {
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        let after = null;
        for (const part of page.querySelectorAll("[data-part]")) {
          show({ name: part.dataset.part, html: part.innerHTML, after });
          after = part.dataset.part;
        }
        say("");
      }
    } catch {
      say(LOST);
    }
    open();
  }

  if (main && window.EventSource) {
    let hidden = null;
    document.addEventListener("visibilitychange", () => {
      clearTimeout(hidden);
      if (document.hidden) hidden = setTimeout(close, UNSEEN_MS);
      else open();
    });
    window.addEventListener("pagehide", close);
    window.addEventListener("pageshow", open);
    open();
  }

  // Choosing all -------------------------------------------------------------------------------------------------------

  const boxes = () => [...document.querySelectorAll("input[type=checkbox][name=job]")];

  function addChooser() {
    const first = boxes()[0];
    const head = first && first.closest("table").querySelector("thead th");
    if (!head || head.querySelector("[data-own]")) return count();
    const all = document.createElement("input");
    all.type = "checkbox";
    all.id = "choose-all";
    all.dataset.own = "";
    all.setAttribute("aria-label", "Choose all on this page");
    all.addEventListener("change", () => boxes().forEach((one) => { one.checked = all.checked; }));
    head.prepend(all);
    return count();
  }

  function count() {
    const all = document.getElementById("choose-all");
    if (!all) return;
    const chosen = boxes().filter((one) => one.checked).length;
    all.checked = chosen > 0 && chosen === boxes().length;
    all.indeterminate = chosen > 0 && !all.checked;
  }

  document.addEventListener("change", (event) => { if (event.target.name === "job") count(); });
  addChooser();

  // A key --------------------------------------------------------------------------------------------------------------

  function find() {
    const field = document.querySelector("input[type=search]");
    if (!field) return location.assign("/jobs#q");
    field.focus();
    return field.select();
  }

  // With Ctrl: a key alone may be struck by whoever speaks to the browser, and means other things to screen readers.
  document.addEventListener("keydown", (event) => {
    if (!event.ctrlKey || event.altKey || event.metaKey || event.isComposing || event.key !== "/") return;
    event.preventDefault();
    find();
  });
  const hint = document.querySelector("footer p");
  if (hint) hint.append(" Ctrl + / finds jobs.");
  if (location.hash === "#q") document.getElementById("q")?.focus();
})();
