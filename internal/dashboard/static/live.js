// SPDX-License-Identifier: Apache-2.0
// Keeps a page up to date, and makes commands copyable. Without it, a page is updated when the user reloads it.
"use strict";
(() => {
  const status = document.getElementById("live-status");
  const shown = new Map(); // the HTML of each live section as the server sent it, by id
  let source = null;

  const say = (text) => { if (status && status.textContent !== text) status.textContent = text; };

  // Adds a relative time, such as "2 min ago", to each time.
  const relate = () => {
    for (const time of document.querySelectorAll("time[datetime]")) {
      const seconds = Math.round((Date.parse(time.dateTime) - Date.now()) / 1000);
      const far = Math.abs(seconds);
      const [count, unit] = far < 90 ? [far, "s"] : far < 5400 ? [Math.round(far / 60), "min"] : far < 129600 ? [Math.round(far / 3600), "h"] : [Math.round(far / 86400), "d"];
      time.dataset.relative = seconds > 0 ? `in ${count} ${unit}` : "due" in time.dataset ? "now" : `${count} ${unit} ago`;
    }
  };

  // Shows the buttons, and keeps each word of a command on one line if it fits: browsers break lines after the hyphens in flags.
  const prepare = (root) => {
    for (const button of root.querySelectorAll("button[data-copy]")) button.hidden = false;
    for (const code of root.querySelectorAll(".command code")) {
      code.replaceChildren(...code.textContent.split(/( )/).map((word) => (word === " " ? word : Object.assign(document.createElement("span"), { textContent: word }))));
    }
  };

  // Finds the element that has the focus within an element, so that the same one of its successor can get it.
  const focusIn = (element) => {
    const focus = document.activeElement;
    if (!focus || !element.contains(focus)) return null;
    if (focus.id) return "#" + CSS.escape(focus.id);
    return focus.matches("a[href]") ? `a[href="${CSS.escape(focus.getAttribute("href"))}"]` : "";
  };

  const update = (text) => {
    const page = new DOMParser().parseFromString(text, "text/html");
    for (const old of document.querySelectorAll("[data-live]")) {
      const next = page.getElementById(old.id);
      if (!next || shown.get(old.id) === next.outerHTML) continue;
      const focus = focusIn(old);
      if (focus === "" || getSelection()?.toString() && old.contains(getSelection().anchorNode)) continue; // in use
      shown.set(old.id, next.outerHTML);
      for (const open of old.querySelectorAll("details[open][id]")) {
        const same = next.querySelector("#" + CSS.escape(open.id));
        if (same) same.open = true;
      }
      const scrolled = [...old.querySelectorAll(".scroll")].map((element) => [element.scrollLeft, element.scrollTop]);
      const successor = document.importNode(next, true);
      old.replaceWith(successor);
      prepare(successor);
      successor.querySelectorAll(".scroll").forEach((element, i) => { if (scrolled[i]) [element.scrollLeft, element.scrollTop] = scrolled[i]; });
      if (focus) successor.querySelector(focus)?.focus({ preventScroll: true });
    }
    relate();
  };

  const follow = () => {
    if (source || document.hidden) return;
    source = new EventSource("/events?page=" + encodeURIComponent(location.pathname + location.search));
    source.addEventListener("open", () => say("Live"));
    source.addEventListener("page", (event) => update(JSON.parse(event.data)));
    source.addEventListener("error", () => {
      say(source.readyState === EventSource.CLOSED ? "Not live: outrigger dashboard has stopped, this session has ended, or too many pages are open" : "Not live: connecting");
    });
  };

  // Browsers limit the number of connections to a host, so a hidden tab uses none.
  document.addEventListener("visibilitychange", () => {
    if (!document.hidden) return follow();
    source?.close();
    source = null;
  });

  document.addEventListener("click", async (event) => {
    const button = event.target.closest?.("button[data-copy]");
    if (!button) return;
    const text = button.parentElement.querySelector("code").textContent;
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(button.parentElement.querySelector("code"));
      button.textContent = "Press Ctrl-C";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });

  prepare(document);
  relate();
  setInterval(relate, 1000);
  if (document.querySelector("[data-live]") && !document.querySelector("form[data-still]")) follow();
})();
