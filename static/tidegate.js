// What the pages do beyond being read: they stay current, and they send what an
// operator decides. Everything can be read without this file.
(() => {
  'use strict';

  // ---- Times -------------------------------------------------------------

  const units = [[1, 60, 's'], [60, 60, 'min'], [3600, 24, 'h'], [86400, 60, 'd'], [86400 * 30, Infinity, 'months']];

  // The same words as the server's: src/web/pages/show/time.rs.
  function relative(seconds) {
    const size = Math.abs(seconds);
    if (size < 5) return 'now';
    // What is over is told in full units, what is to come to the nearest.
    const round = seconds < 0 ? Math.round : Math.floor;
    const [per, , word] = units.find(([per, below]) => round(size / per) < below);
    const text = `${round(size / per)} ${word}`;
    return seconds < 0 ? `in ${text}` : `${text} ago`;
  }

  // The server's clock decides, not the browser's.
  let clockOffset = 0;
  const serverTime = document.documentElement.dataset.at;
  if (serverTime) clockOffset = Date.parse(serverTime) - Date.now();

  function tick() {
    for (const time of document.querySelectorAll('time[data-relative]')) {
      const at = Date.parse(time.dateTime);
      if (Number.isNaN(at)) continue;
      const text = relative((Date.now() + clockOffset - at) / 1000);
      if (time.textContent !== text) time.textContent = text;
    }
  }
  setInterval(tick, 5000);

  // ---- Making one tree like another --------------------------------------

  // Elements stay where they can, so that focus, scroll positions, what was
  // typed and what was unfolded stay too.
  function morph(from, to) {
    if (from.nodeType !== to.nodeType || from.nodeName !== to.nodeName || idOf(from) !== idOf(to)) {
      from.replaceWith(document.importNode(to, true));
      return;
    }
    if (from.nodeType !== Node.ELEMENT_NODE) {
      if (from.nodeValue !== to.nodeValue) from.nodeValue = to.nodeValue;
      return;
    }
    for (const { name } of [...from.attributes]) {
      if (!to.hasAttribute(name) && name !== 'open') from.removeAttribute(name);
    }
    for (const { name, value } of to.attributes) {
      if (from.getAttribute(name) !== value) from.setAttribute(name, value);
    }
    if (from.nodeName === 'INPUT' || from.nodeName === 'TEXTAREA' || from.nodeName === 'SELECT') return;
    const wanted = [...to.childNodes];
    const keyed = new Map();
    for (const child of from.childNodes) if (idOf(child)) keyed.set(idOf(child), child);
    let place = from.firstChild;
    for (const next of wanted) {
      const id = idOf(next);
      const known = id && keyed.get(id);
      if (known) {
        if (known !== place) from.insertBefore(known, place);
        else place = place.nextSibling;
        morph(known, next);
      } else if (place && !idOf(place) && !id && place.nodeName === next.nodeName) {
        const after = place.nextSibling;
        morph(place, next);
        place = after;
      } else {
        from.insertBefore(document.importNode(next, true), place);
      }
    }
    while (place) {
      const after = place.nextSibling;
      place.remove();
      place = after;
    }
  }

  function idOf(node) {
    return node.nodeType === Node.ELEMENT_NODE ? node.id || node.dataset.key || '' : '';
  }

  // ---- Staying current ---------------------------------------------------

  const live = document.getElementById('live');
  const link = document.getElementById('link');
  const said = document.getElementById('said');
  const POLL = 5000;
  const LEAST = 1000;
  let running = false;
  let again = false;
  let last = 0;
  let waiting = null;
  let stream = null;
  let poll = null;

  function say(text) {
    if (said) said.textContent = text;
  }

  function show(state, words) {
    if (!link || link.dataset.link === state) return;
    link.dataset.link = state;
    link.textContent = words;
  }

  function fragmentUrl() {
    const url = new URL(location.href);
    url.searchParams.set('fragment', '1');
    return url;
  }

  async function page(url) {
    const answer = await fetch(url, { headers: { Accept: 'text/html' }, credentials: 'same-origin' });
    if (!answer.ok) throw new Error(String(answer.status));
    return new DOMParser().parseFromString(await answer.text(), 'text/html');
  }

  async function refresh() {
    if (!live) return;
    if (running) { again = true; return; }
    running = true;
    last = Date.now();
    try {
      const found = (await page(fragmentUrl())).getElementById('live');
      // Something that stands outside the live part belongs to another state
      // now: fetch the page as a whole, but not under an open dialog.
      if (found && found.dataset.whole !== live.dataset.whole) {
        if (!document.querySelector('dialog[open]')) {
          const whole = await page(location.href);
          // The navigation counts what waits for a person.
          for (const part of ['main', 'nav']) {
            const next = whole.getElementById(part);
            if (next) morph(document.getElementById(part), next);
          }
        }
      } else if (found) {
        morph(live, found);
      }
      clockOffset = found && found.dataset.at ? Date.parse(found.dataset.at) - Date.now() : clockOffset;
      tick();
      if (link && link.dataset.link === 'lost') show(stream ? 'live' : 'polling', stream ? 'Live' : 'Every 5 s');
    } catch {
      show('lost', 'No answer. What is shown may be old');
    } finally {
      running = false;
      if (again) { again = false; soon(); }
    }
  }

  function soon() {
    if (waiting) return;
    waiting = setTimeout(() => { waiting = null; refresh(); }, Math.max(0, last + LEAST - Date.now()));
  }

  function startPolling() {
    if (poll) return;
    poll = setInterval(() => { if (!document.hidden) refresh(); }, POLL);
    show('polling', 'Every 5 s');
    refresh();
  }

  function stopPolling() {
    clearInterval(poll);
    poll = null;
  }

  function listen() {
    if (!live || stream) return;
    if (!('EventSource' in window)) { startPolling(); return; }
    stream = new EventSource('/api/v1/events');
    stream.onopen = () => {
      const missed = poll !== null;
      stopPolling();
      show('live', 'Live');
      if (missed) refresh();
    };
    stream.onerror = () => {
      if (stream && stream.readyState === EventSource.CLOSED) { stream.close(); stream = null; setTimeout(listen, 30000); }
      startPolling();
    };
    const batch = live.dataset.batch;
    const source = live.dataset.source;
    const about = (event) => {
      // A page of one batch or source has no use for what others do.
      let data = {};
      try { data = JSON.parse(event.data); } catch { /* then it is about everything */ }
      if (batch && data.batch_id && data.batch_id !== batch) return;
      if (source && data.source_id && data.source_id !== source) return;
      soon();
    };
    for (const kind of (live.dataset.live || '').split(' ')) stream.addEventListener(kind, about);
  }

  function stopListening() {
    if (stream) stream.close();
    stream = null;
    stopPolling();
  }

  if (live) {
    // A browser has few connections to one server: pages in the background
    // give theirs back.
    document.addEventListener('visibilitychange', () => {
      if (document.hidden) stopListening();
      else { listen(); refresh(); }
    });
    window.addEventListener('pagehide', stopListening);
    window.addEventListener('pageshow', (event) => { if (event.persisted) { listen(); refresh(); } });
    if (!document.hidden) listen();
  } else if (link) {
    link.hidden = true;
  }

  // ---- Deciding ----------------------------------------------------------

  document.addEventListener('click', (event) => {
    const opener = event.target.closest('[data-opens]');
    if (opener) {
      const dialog = document.getElementById(opener.dataset.opens);
      if (dialog) {
        const problem = dialog.querySelector('.problem');
        if (problem) problem.hidden = true;
        ask(dialog);
      }
    }
    const closer = event.target.closest('[data-closes]');
    if (closer) closer.closest('dialog').close();
    const copier = event.target.closest('[data-copy]');
    if (copier && navigator.clipboard) {
      navigator.clipboard.writeText(copier.dataset.copy).then(() => say('Copied'), () => {});
    }
  });

  document.addEventListener('submit', (event) => {
    const form = event.target.closest('form[data-post], form[data-check]');
    if (!form) return;
    event.preventDefault();
    if (form.dataset.check) check(form);
    else send(form, event.submitter || form.querySelector('button[type="submit"]:not([data-post])'));
  });

  // Who decides is typed once for each browser.
  const NAME = 'tidegate.actor';
  function known() {
    try { return localStorage.getItem(NAME) || ''; } catch { return ''; }
  }

  function ask(dialog) {
    for (const field of dialog.querySelectorAll('[data-actor]')) if (!field.value) field.value = known();
    dialog.showModal();
  }

  function post(url, body) {
    return fetch(url, {
      method: 'POST',
      credentials: 'same-origin',
      headers: { 'Content-Type': 'application/json', Accept: 'application/json' },
      body: JSON.stringify(body),
    });
  }

  // What an action on many came to so far, a part at a time; null when it is
  // through and nothing was refused.
  async function sendAll(form, body, problem) {
    const told = form.querySelector('.so-far');
    let [done, refused, first] = [0, 0, null];
    for (;;) {
      const answer = await post(form.dataset.post, body);
      if (!answer.ok) return answer;
      const part = await answer.json();
      done += part.done;
      refused += part.refused;
      first = first || part.items.find((item) => item.problem);
      told.textContent = `${done} done, ${refused} refused`;
      told.hidden = false;
      if (!part.next_cursor) break;
      body.cursor = part.next_cursor;
    }
    if (!refused) return null;
    explain(problem, `${done} done, ${refused} refused. The first: ${first.problem.detail}`, first.problem.action);
    refresh();
    return false;
  }

  // A field of another form that is edited, if it was changed.
  function edited(form) {
    const field = form.dataset.content && document.getElementById(form.dataset.content);
    return field && field.value !== field.defaultValue ? field : null;
  }

  async function send(form, button) {
    const url = button.dataset.post || form.dataset.post;
    const problem = form.querySelector('.problem');
    if (button.disabled) return;
    button.disabled = true;
    if (problem) problem.hidden = true;
    const body = {};
    for (const [name, value] of new FormData(form)) body[name] = value;
    for (const field of form.querySelectorAll('[data-json]')) body[field.name] = JSON.parse(field.value);
    for (const field of form.querySelectorAll('[data-optional]')) if (!field.value.trim()) delete body[field.name];
    const content = edited(form);
    if (content) body.content = content.value;
    // The server keeps a reason with everything that is decided.
    if (form.dataset.reason && !(body.reason || '').trim()) body.reason = form.dataset.reason;
    try {
      if (body.actor) localStorage.setItem(NAME, body.actor);
    } catch { /* then it is typed again */ }
    try {
      const bulk = 'bulk' in form.dataset;
      const answer = bulk ? await sendAll(form, body, problem) : await post(url, body);
      if (answer === false) return;
      if (answer && !answer.ok) {
        const told = await answer.json().catch(() => ({}));
        explain(problem, told.detail || told.title || `The server answered ${answer.status}.`, told.action);
        return;
      }
      const dialog = form.closest('dialog');
      if (dialog) dialog.close();
      if (!('keeps' in form.dataset)) form.reset();
      // What was typed is kept: it is no edit any more.
      if (content) content.defaultValue = content.value;
      say(button.dataset.done || form.dataset.done || 'Done');
      refresh();
    } catch {
      explain(problem, 'The server did not answer. Nothing is known to have been changed.', 'Look at the state again before you repeat it.');
    } finally {
      button.disabled = false;
    }
  }

  // What a content would change, before it is kept; then the question whether
  // it should.
  async function check(form) {
    const button = form.querySelector('button[type="submit"]');
    const problem = form.querySelector('.problem');
    const dialog = document.getElementById(form.dataset.then);
    if (button.disabled) return;
    const words = button.textContent;
    button.disabled = true;
    button.textContent = button.dataset.busy || words;
    problem.hidden = true;
    try {
      const field = form.elements.content;
      const changed = field.value !== field.defaultValue;
      const answer = await post(form.dataset.check, changed ? { content: field.value } : {});
      const told = await answer.json().catch(() => ({}));
      if (!answer.ok) {
        explain(problem, told.detail || `The server answered ${answer.status}.`, told.action);
      } else if (!told.valid) {
        explain(problem, told.problem, told.action);
      } else {
        const shown = dialog.querySelector('[data-preview]');
        shown.textContent = '';
        preview(shown, told, changed);
        for (const part of dialog.querySelectorAll('[data-if-changed]')) part.hidden = !changed;
        dialog.querySelector('.problem').hidden = true;
        ask(dialog);
      }
    } catch {
      explain(problem, 'The server did not answer.', 'Try again.');
    } finally {
      button.disabled = false;
      button.textContent = words;
    }
  }

  function add(to, kind, text, name) {
    const made = document.createElement(kind);
    if (text !== undefined) made.textContent = text;
    if (name) made.className = name;
    to.append(made);
    return made;
  }

  const many = (count, one, more) => `${count.toLocaleString('en')} ${count === 1 ? one : more}`;

  // A plan that was made to be looked at, as text nodes alone.
  function preview(shown, told, changed) {
    if (!changed) add(shown, 'p', 'Nothing was edited: this is what it holds.', 'muted');
    if (told.note) add(shown, 'p', told.note);
    const plan = told.plan;
    if (plan) {
      const { entities: e, relationships: r } = plan.summary;
      const sum = (name) => (e[name] + r[name]).toLocaleString('en');
      const counts = `${sum('create')} to create, ${sum('update')} to update, ${sum('delete')} to delete`;
      const what = `${many(plan.changes, 'change', 'changes')} at target ${plan.target}`;
      if (plan.changes) add(shown, 'p', plan.changes === 1 ? `${what}:` : `${what}: ${counts}.`);
      for (const trip of plan.guards) add(shown, 'p', `A guard would park it: ${trip.reason}.`, 'c-update');
      for (const warning of plan.warnings) add(shown, 'p', warning, 'c-update sentence');
    }
    if (!told.changes.length) return;
    const list = add(shown, 'ol');
    for (const change of told.changes) {
      const item = add(list, 'li');
      const key = change.key;
      const name = key.qualified_name || `${key.from.qualified_name} → ${key.to.qualified_name}`;
      const head = add(item, 'p');
      add(head, 'strong', change.action, `c-${change.action}`);
      head.append(' ');
      add(head, 'span', `${key.type} ${name}`, 'name');
      const before = change.before || {};
      const after = change.after || {};
      const attributes = add(item, 'dl', undefined, 'attrs');
      for (const attribute of new Set([...Object.keys(before), ...Object.keys(after)])) {
        const line = add(attributes, 'div');
        add(line, 'dt', attribute);
        const value = add(line, 'dd');
        if (attribute in before) add(value, 'del', JSON.stringify(before[attribute]), 'old');
        if (attribute in before && attribute in after) add(value, 'span', '→', 'arrow');
        if (attribute in after) add(value, 'ins', JSON.stringify(after[attribute]), 'new');
      }
    }
    const more = plan ? plan.changes - told.changes.length : 0;
    if (more > 0) add(shown, 'p', `… and ${many(more, 'more change', 'more changes')}.`, 'muted');
  }

  function explain(problem, what, action) {
    if (!problem) return;
    problem.textContent = '';
    for (const text of [what, action]) {
      if (!text) continue;
      const line = document.createElement('p');
      line.textContent = text;
      problem.append(line);
    }
    problem.hidden = false;
    problem.focus();
  }

  // ---- Graphs ------------------------------------------------------------

  // On a narrow screen, begin at the entity that the page is about.
  for (const graph of document.querySelectorAll('.graph')) {
    const here = graph.querySelector('.here rect');
    if (!here || graph.scrollWidth <= graph.clientWidth) continue;
    const box = here.getBoundingClientRect();
    graph.scrollLeft += box.left + box.width / 2 - (graph.getBoundingClientRect().left + graph.clientWidth / 2);
  }

  // ---- Keys --------------------------------------------------------------

  document.addEventListener('keydown', (event) => {
    const typing = event.target.closest('input, textarea, select, [contenteditable]');
    if (event.key !== '/' || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const find = document.getElementById('find');
    if (!find || document.querySelector('dialog[open]')) return;
    event.preventDefault();
    find.focus();
    find.select();
  });
})();
