// The gallery. One page, no library: data come as scripts that call vidreason.add, since a page from a disk may fetch nothing.
// Every text of a model or a data set becomes a text node; nothing here makes markup from a text.
"use strict";

const vidreason = (() => {
  const byId = (id) => document.getElementById(id);
  const ROW = 62;            // height of a row of the list in pixels, as in gallery.css
  const SPARE = 6;           // rows drawn above and below those in sight
  const KEPT = 60;           // files of texts kept in memory
  const SETTLED = 150;       // milliseconds after the last change at which the address is written
  const PAUSE = 30;          // milliseconds for which a row must be in sight before its texts are loaded
  // Milliseconds: of the last change of the filters, of it without waiting for files, and until the first texts; for the tests.
  const stats = { whole: 0, filter: 0, first: 0, waited: 0, files: 0 };

  // ---- Elements --------------------------------------------------------------------------------------------------------

  /** An element; strings among the children become text. */
  function el(tag, attributes, ...children) {
    const element = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes ?? {})) {
      if (name === "style") Object.assign(element.style, value);
      else if (value === true) element.setAttribute(name, "");
      else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, String(value));
    }
    element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
    return element;
  }

  const text = (tag, attributes, words) => el(tag, { dir: "auto", ...attributes }, words);
  const number = (value, digits = 3) => (value === null || value === undefined ? "-" : String(Number(value.toFixed(digits))));
  const percent = (share) => `${(100 * share).toFixed(1)}%`;
  const count = (value, noun) => `${value.toLocaleString("en")} ${noun}${value === 1 ? "" : "s"}`;

  // ---- Data ------------------------------------------------------------------------------------------------------------

  let index = null;
  const files = new Map();
  const waiting = new Map();

  /** Called by every data file. */
  function add(name, json) {
    const value = JSON.parse(json);
    stats.files += 1;
    if (name === "index") {
      start(value);
      return;
    }
    files.set(name, value);
    for (const old of files.keys()) {
      if (files.size <= KEPT) break;
      if (old !== name && !old.startsWith("search_")) files.delete(old);
    }
    waiting.get(name)?.resolve(value);
  }

  /** The content of a data file, loaded unless it is there. */
  function load(name) {
    if (files.has(name)) {
      const value = files.get(name);
      files.delete(name);     // the one used last is dropped last
      files.set(name, value);
      return Promise.resolve(value);
    }
    if (waiting.has(name)) return waiting.get(name).promise;
    const entry = {};
    entry.promise = new Promise((resolve, reject) => Object.assign(entry, { resolve, reject }));
    entry.promise.finally(() => waiting.delete(name)).catch(() => {});
    waiting.set(name, entry);
    const script = el("script", { src: `data/${name}.js` });
    const end = () => {
      script.remove();
      entry.reject(new Error(`data/${name}.js is missing or damaged: copy the whole folder, or make the report again`));
    };
    script.addEventListener("load", end);
    script.addEventListener("error", end);
    document.head.append(script);
    return entry.promise;
  }

  const padded = (value, width) => String(value).padStart(width, "0");
  const questionFile = (at) => `questions_${padded(Math.floor(at / index.chunk), 4)}`;
  const answerFile = (at) => `answers_${seed()}_${padded(Math.floor(at / index.chunk), 4)}`;

  function unpacked(base64, Kind) {
    const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    if (Kind === Uint8Array) return bytes;
    const view = new DataView(bytes.buffer);
    return Kind.from({ length: bytes.length / Kind.BYTES_PER_ELEMENT }, (_, at) => view.getUint16(2 * at, true));
  }

  /** Outcomes of the arms for a seed: two bytes a question. */
  function outcomes(ofSeed) {
    const columns = index.outcomes[ofSeed];
    if (typeof columns[0] === "string") index.outcomes[ofSeed] = columns.map((column) => unpacked(column, Uint16Array));
    return index.outcomes[ofSeed];
  }

  // ---- State, which is the address -------------------------------------------------------------------------------------

  const EMPTY = { view: "answers", seed: "", benchmark: "", category: "", task: "", arm: "", outcome: "", arms: "", q: "", step: "",
    spread: "", at: "" };
  let state = { ...EMPTY };
  let complaint = "";

  const seed = () => (state.seed === "" ? index.seeds[0] : Number(state.seed));
  const armAt = (name) => index.arms.findIndex((arm) => arm.name === name);
  const trained = () => [...new Set(index.groups.map((group) => group.arm))];

  /** Read the address; what it names and the gallery lacks is dropped, with a word about it. */
  function readAddress() {
    const given = new URLSearchParams(location.hash.slice(1));
    const read = { ...EMPTY };
    complaint = "";
    const allowed = {
      view: ["answers", "groups"], seed: index.seeds.map(String), benchmark: index.benchmarks.map((one) => one.name),
      category: index.categories, task: index.tasks, arm: index.arms.map((arm) => arm.name), outcome: Object.keys(OUTCOMES),
      spread: ["equal", "varied"],
    };
    for (const key of Object.keys(EMPTY)) {
      const value = given.get(key);
      if (value === null || value === "") continue;
      if (allowed[key] && !allowed[key].includes(value)) {
        complaint = `The address names the ${key} "${value.slice(0, 80)}", which this gallery does not have. `;
      } else read[key] = value;
    }
    return read;
  }

  let addressTimer = 0;

  /** Write the address after a moment: browsers slow a page down that writes it with every key. */
  function writeAddress() {
    clearTimeout(addressTimer);
    addressTimer = setTimeout(putAddress, SETTLED);
  }

  function putAddress() {
    const shown = new URLSearchParams();
    for (const [key, value] of Object.entries(state)) if (value !== EMPTY[key]) shown.set(key, value);
    const hash = `#${shown}`;
    if (hash !== location.hash && !(hash === "#" && location.hash === "")) history.replaceState(null, "", hash);
  }

  function change(part) {
    state = { ...state, ...part };
    complaint = "";
    writeAddress();
    apply();
  }

  /** Places of the arms that are compared and shown: those that are ticked, else all but controls. */
  function shownArms() {
    const ticked = state.arms.split(",").map(armAt).filter((at) => at >= 0);
    if (ticked.length) return ticked;
    const own = index.arms.map((_, at) => at).filter((at) => !index.arms[at].control);
    return own.length ? own : index.arms.map((_, at) => at);
  }

  // ---- Filters ---------------------------------------------------------------------------------------------------------

  const has = (name) => (byte) => (byte & index.bits[name]) !== 0;
  const not = (test) => (byte) => !test(byte);
  const both = (...tests) => (byte) => tests.every((test) => test(byte));

  // An outcome is a test of one arm's bits, or (many) of the bits of the shown arms.
  const OUTCOMES = {
    right: { title: "right", one: () => has("right") },
    wrong: { title: "wrong", one: () => not(has("right")) },
    unparsed: { title: "nothing could be read", one: () => both(has("answered"), not(has("read"))) },
    truncated: { title: "cut off", one: () => both(has("answered"), not(has("finished"))) },
    malformed: { title: "not of the asked form", one: () => both(has("answered"), not(has("formed"))) },
    unanswered: { title: "not asked (no frames, or too long)", one: () => not(has("answered")) },
    think_true_wrong: { title: "thought true, answer wrong", one: () => both(has("think_true"), not(has("right"))) },
    think_false_right: { title: "thought not true, answer right",
      one: () => both(has("truth_known"), has("thinks"), not(has("think_true")), has("right")) },
    reflects: { title: "thought with a word of reflection", one: () => has("reflects") },
    switches: { title: "thought names another option", one: () => has("switches") },
    only_right: { title: "only it right", many: (rights, chosen) => alone(rights, chosen, 1) },
    only_wrong: { title: "only it wrong", many: (rights, chosen) => alone(rights, chosen, 0) },
    gained: { title: "right, parent wrong", many: (rights, chosen) => against(rights, chosen, 1) },
    lost: { title: "wrong, parent right", many: (rights, chosen) => against(rights, chosen, 0) },
    all_right: { title: "all right", many: (rights) => (at) => rights.shown.every((column) => column[at] & rights.bit) },
    all_wrong: { title: "all wrong", many: (rights) => (at) => rights.shown.every((column) => !(column[at] & rights.bit)) },
    differ: { title: "arms differ", many: (rights) => (at) => {
      let right = 0;
      for (const column of rights.shown) right += column[at] & rights.bit ? 1 : 0;
      return right > 0 && right < rights.shown.length;
    } },
  };

  /** One arm is right (or wrong) and all other shown ones are not; without a chosen arm, whichever one. */
  function alone(rights, chosen, wanted) {
    const others = rights.shown.filter((column) => column !== rights.all[chosen]);
    const is = (column, at) => (column[at] & rights.bit ? 1 : 0) === wanted;
    if (chosen >= 0) return (at) => is(rights.all[chosen], at) && !others.some((column) => is(column, at));
    return (at) => others.filter((column) => is(column, at)).length === 1;
  }

  /** An arm is right and its parent wrong, or the other way round; without a chosen arm, any shown one. */
  function against(rights, chosen, wanted) {
    const pairs = (chosen >= 0 ? [chosen] : shownArms())
      .map((arm) => [rights.all[arm], rights.all[armAt(index.arms[arm].parent)]]).filter(([, parent]) => parent);
    const is = (column, at) => (column[at] & rights.bit ? 1 : 0);
    return (at) => pairs.some(([own, parent]) => is(own, at) === wanted && is(parent, at) !== wanted);
  }

  /** Numbers of the questions that pass all filters. */
  function filtered(hits) {
    const tests = [];
    for (const key of ["benchmark", "category", "task"]) {
      if (state[key] === "") continue;
      const names = { benchmark: index.benchmarks.map((one) => one.name), category: index.categories, task: index.tasks }[key];
      const [column, wanted] = [index.columns[key], names.indexOf(state[key])];
      tests.push((at) => column[at] === wanted);
    }
    if (state.outcome) tests.push(outcomeTest());
    if (hits) tests.push((at) => hits[at] === 1);
    const passed = new Uint32Array(index.ids.length);
    let length = 0;
    for (let at = 0; at < index.ids.length; at += 1) if (tests.every((test) => test(at))) passed[length++] = at;
    return passed.subarray(0, length);
  }

  function outcomeTest() {
    const [all, chosen, wanted] = [outcomes(seed()), armAt(state.arm), OUTCOMES[state.outcome]];
    const shown = shownArms().map((arm) => all[arm]);
    if (wanted.many) return wanted.many({ all, shown, bit: index.bits.right }, chosen);
    const test = wanted.one();
    if (chosen >= 0) return (at) => test(all[chosen][at]);
    return (at) => shown.some((column) => test(column[at]));
  }

  // ---- Search ----------------------------------------------------------------------------------------------------------

  const found = new Map();   // seed and words -> a byte a question

  /** Words of a query, lower-case; what stands in quotation marks is one. */
  function wordsOf(query) {
    const words = query.normalize("NFC").toLowerCase().match(/"[^"]+"?|[^\s"]+/g) ?? [];
    return words.map((word) => word.replaceAll('"', "")).filter((word) => word !== "");
  }

  /** A byte a question: whether it has all words. What was found for a beginning of the same query is searched alone. */
  function hitsOf(words, texts) {
    const key = `${seed()} ${words.join("\n")}`;
    if (found.has(key)) return found.get(key);
    const shorter = [...found.keys()].filter((old) => key.startsWith(old)).sort((one, other) => one.length - other.length).pop();
    const before = shorter ? found.get(shorter) : null;
    const hits = new Uint8Array(index.ids.length);
    for (let at = 0; at < hits.length; at += 1) {
      if (before && !before[at]) continue;
      const searched = texts[Math.floor(at / index.searched)][at % index.searched];
      hits[at] = words.every((word) => searched.includes(word)) ? 1 : 0;
    }
    if (found.size > 50) found.delete(found.keys().next().value);
    found.set(key, hits);
    return hits;
  }

  /** The questions with all words, null without any words; the texts are loaded at the first search. */
  async function search(query, progress) {
    const words = wordsOf(query);
    const began = performance.now();
    stats.waited = 0;
    if (!words.length) return null;
    const texts = [];
    const total = Math.ceil(index.ids.length / index.searched);
    for (let number = 0; number < total; number += 1) {
      const name = `search_${seed()}_${padded(number, 4)}`;
      if (!files.has(name)) progress(`Loading what is searched: file ${number + 1} of ${total}.`);
      texts.push(files.has(name) ? files.get(name) : await load(name));
    }
    stats.waited = performance.now() - began;
    return hitsOf(words, texts);
  }

  // ---- The list: only rows in sight are elements -----------------------------------------------------------------------

  const list = { length: 0, fill: null, rows: new Map(), free: [], selected: -1, asked: false };

  function setList(length, fill) {
    Object.assign(list, { length, fill });
    byId("rows").style.height = `${length * ROW}px`;
    for (const row of list.rows.values()) release(row);
    list.rows.clear();
    drawList();
  }

  function release(row) {
    row.remove();
    list.free.push(row);
  }

  function drawList() {
    const box = byId("list");
    const first = Math.max(0, Math.floor(box.scrollTop / ROW) - SPARE);
    const last = Math.min(list.length - 1, Math.ceil((box.scrollTop + box.clientHeight) / ROW) + SPARE);
    for (const [at, row] of list.rows) {
      if (at < first || at > last) {
        list.rows.delete(at);
        release(row);
      }
    }
    for (let at = first; at <= last; at += 1) {
      let row = list.rows.get(at);
      if (!row) {
        row = list.free.pop() ?? el("div", { class: "row", role: "option" });
        row.style.transform = `translateY(${at * ROW}px)`;
        row.id = `row-${at}`;
        list.rows.set(at, row);
        byId("rows").append(row);
        row.replaceChildren(...list.fill(at));
      }
      row.setAttribute("aria-selected", String(at === list.selected));
      row.setAttribute("aria-posinset", String(at + 1));
      row.setAttribute("aria-setsize", String(list.length));
    }
    if (list.rows.has(list.selected)) box.setAttribute("aria-activedescendant", `row-${list.selected}`);
    else box.removeAttribute("aria-activedescendant");
  }

  /** Draw rows again whose texts have come. */
  function refill() {
    for (const [at, row] of list.rows) row.replaceChildren(...list.fill(at));
  }

  function select(at) {
    list.selected = at;
    const box = byId("list");
    if (at >= 0 && box.clientHeight) {
      if (at * ROW < box.scrollTop) box.scrollTop = at * ROW;
      else if ((at + 1) * ROW > box.scrollTop + box.clientHeight) box.scrollTop = (at + 1) * ROW - box.clientHeight;
    }
    drawList();
  }

  let askTimer = 0;

  /** Load the texts of the rows that are still in sight after a moment: a scroll past thousands loads none of them. */
  function askForTexts() {
    clearTimeout(askTimer);
    askTimer = setTimeout(() => {
      const names = new Set([...list.rows.keys()].map((at) => questionFile(passed[at])));
      // Drawn again also where nothing is loaded: the chosen question may have loaded its neighbors' texts meanwhile.
      Promise.all([...names].map(load)).then(() => { if (state.view === "answers") refill(); }).catch(fail);
    }, PAUSE);
  }

  // ---- Pieces of a question --------------------------------------------------------------------------------------------

  function frameStyle(clip, at, width) {
    return {
      backgroundImage: `url("${clip.file}")`,
      backgroundSize: `${clip.count * 100}% 100%`,
      backgroundPosition: clip.count > 1 ? `${(100 * at) / (clip.count - 1)}% 0` : "0 0",
      ...(width ? { width: `${width}px`, height: `${Math.min(width, width / clip.ratio)}px` } : { aspectRatio: String(clip.ratio) }),
    };
  }

  /** The frame in the middle, small; nothing where there are no frames. */
  function thumb(clip) {
    return el("div", { class: "thumb", style: clip?.file ? frameStyle(clip, Math.floor(clip.count / 2), 48) : {} });
  }

  function strip(clip) {
    if (clip.why) return el("p", { class: "dim" }, `No frames: ${clip.why}.`);
    const figures = Array.from({ length: clip.count }, (_, at) => {
      const words = `frame ${at + 1} of ${clip.count}${at in clip.times ? `, ${number(clip.times[at], 2)} s` : ""}`;
      return el("figure", {}, el("div", { class: "frame", role: "img", "aria-label": words, style: frameStyle(clip, at) }),
        el("figcaption", {}, at in clip.times ? `${number(clip.times[at], 2)} s` : String(at + 1)));
    });
    return el("div", { class: "strip" }, ...figures);
  }

  function optionList(question) {
    if (!question.options.length) return el("p", {}, "Right is ", text("strong", { class: "right" }, question.answer), ".");
    const items = question.options.map((words, at) => {
      const letter = String.fromCharCode(65 + at);
      const gold = letter === question.gold;
      return text("li", { class: gold ? "right" : null }, `${letter}. ${words}${gold ? "  (right)" : ""}`);
    });
    return el("div", {}, el("ul", { class: "options" }, ...items), el("p", { class: "meta" }, `Right is ${question.answer}.`));
  }

  /** Gold segments and answered intervals on one scale; rows: [name, intervals, class]. */
  function timeLine(question, rows) {
    if (!question.segments.length) return null;
    const ends = rows.flatMap(([, intervals]) => intervals.map(([, end]) => end));
    const whole = Math.max(question.duration ?? 0, ...ends) || 1;
    const cells = rows.flatMap(([name, intervals, kind]) => [
      text("span", { class: "name", title: name }, name),
      el("div", { class: "track" }, ...intervals.map(([start, end]) => el("div", {
        class: `bar ${kind}`, role: "img", "aria-label": `${name}: ${number(start)} to ${number(end)} s`,
        title: `${number(start)} to ${number(end)} s`,
        style: { left: `${(100 * start) / whole}%`, width: `${(100 * (end - start)) / whole}%` },
      }))),
    ]);
    return el("section", {}, el("h3", {}, `On the clip's ${number(whole)} s`), el("div", { class: "times" }, ...cells));
  }

  function writing(answer) {
    return [
      answer.before ? text("pre", {}, answer.before) : null,
      answer.think ? el("div", { class: "label" }, "thought") : null,
      answer.think ? text("pre", { class: "think" }, answer.think) : null,
      answer.after ? text("pre", { class: "written" }, answer.after) : null,
    ].filter(Boolean);
  }

  function readAs(answer) {
    if (answer.read !== null) return `read as ${answer.read}`;
    if (answer.guess) return `read as ${answer.guess} (drawn at random)`;
    return answer.unread.length ? `nothing was read (${answer.unread.join(", ")})` : "nothing was read";
  }

  const pills = (parts) => el("div", { class: "pills" },
    ...Object.entries(parts).map(([name, value]) => el("span", {}, `${name.replaceAll("_", " ")} ${number(value)}`)));

  function prompts(question, task, styles) {
    const texts = styles.map((style) => [style, `${question.prompt}\n${index.instructions[task]?.[style] ?? ""}`]);
    return el("details", {}, el("summary", {}, "Prompt"), ...texts.flatMap(([style, words]) =>
      [el("div", { class: "meta" }, `style ${style}, as published, after the video`), text("pre", {}, words)]));
  }

  const asked = (answer) => (answer.asked
    ? [el("details", {}, el("summary", {}, "Asked with other options"), text("pre", {}, answer.asked))] : []);

  function mark(byte) {
    if (!has("answered")(byte)) return ["–", "dim", "not asked"];
    if (has("right")(byte)) return ["✓", "right", "right"];
    if (!has("finished")(byte)) return ["…", "wrong", "wrong, cut off"];
    if (!has("read")(byte)) return ["?", "wrong", "wrong, nothing could be read"];
    return ["✗", "wrong", "wrong"];
  }

  // ---- View: answers ---------------------------------------------------------------------------------------------------

  let passed = new Uint32Array(0);
  let turn = 0;
  let placeOf = null;        // benchmark/id -> number of the question

  const benchmarkOf = (at) => index.benchmarks[index.columns.benchmark[at]];
  const keyOf = (at) => `${benchmarkOf(at).name}/${index.ids[at]}`;

  function numberOf(key) {
    placeOf ??= new Map(index.ids.map((_, at) => [keyOf(at), at]));
    return placeOf.get(key) ?? -1;
  }

  function answerRow(place) {
    const at = passed[place];
    const chunk = files.get(questionFile(at));
    const question = chunk?.questions[at % index.chunk];
    const clip = question && chunk.clips[question.clip];
    const marks = shownArms().map((arm) => {
      const [sign, kind, words] = mark(outcomes(seed())[arm][at]);
      return el("span", { class: kind, title: `${index.arms[arm].label}: ${words}` }, sign);
    });
    if (question && !stats.first) stats.first = performance.now();
    if (!question) askForTexts();
    const where = [benchmarkOf(at).title, index.categories[index.columns.category[at]], index.ids[at]].filter(Boolean).join(" · ");
    return [thumb(clip), el("div", {}, text("span", { class: "text" }, question ? question.text.slice(0, 300) : "…"),
      el("span", { class: "about" }, text("span", { class: "where" }, where), el("span", { class: "marks" }, ...marks)))];
  }

  async function showAnswers() {
    const mine = ++turn;
    const began = performance.now();
    const hits = await search(state.q, (words) => { if (mine === turn) say(words); });
    if (mine !== turn) return;
    passed = filtered(hits);
    const chosen = state.at === "" ? -1 : numberOf(state.at);
    list.selected = chosen < 0 ? -1 : passed.indexOf(chosen);
    if (moved !== filterKey()) byId("list").scrollTop = 0;
    moved = filterKey();
    setList(passed.length, answerRow);
    select(list.selected);
    const shares = shownArms().map((arm) => {
      const column = outcomes(seed())[arm];
      let right = 0;
      for (const at of passed) right += column[at] & index.bits.right ? 1 : 0;
      return `${index.arms[arm].label} ${passed.length ? percent(right / passed.length) : "-"}`;
    });
    const missing = state.at !== "" && chosen < 0 ? `There is no question "${state.at.slice(0, 80)}". ` : "";
    say(`${missing}${passed.length.toLocaleString("en")} of ${count(index.ids.length, "question")} · right: ${shares.join(", ")}`);
    stats.whole = performance.now() - began;
    stats.filter = stats.whole - stats.waited;
    await showQuestion(chosen, mine);
    document.documentElement.dataset.turn = String(mine);
  }

  let moved = "";
  const filterKey = () => JSON.stringify({ ...state, at: "" });

  async function showQuestion(at, mine) {
    if (at < 0) {
      detail([el("p", { class: "dim" }, "Choose a question, or press j. Press ? for all keys.")], false);
      return;
    }
    const [chunk, answers] = await Promise.all([load(questionFile(at)), load(answerFile(at))]);
    if (mine !== turn) return;
    const question = chunk.questions[at % index.chunk];
    const shown = shownArms().map((arm) => [arm, answers[arm][at % index.chunk], outcomes(seed())[arm][at]]);
    const clip = chunk.clips[question.clip];
    const truth = shown.map(([, answer]) => answer.truth).find(Boolean);
    const bars = shown.filter(([, answer]) => answer.span)
      .map(([arm, answer, byte]) => [index.arms[arm].label, [answer.span], has("right")(byte) ? "right" : "wrong"]);
    const task = index.tasks[index.columns.task[at]];
    const about = [benchmarkOf(at).title, task, index.categories[index.columns.category[at]], question.group, question.id];
    detail([
      text("p", { class: "meta" }, about.filter(Boolean).join(" · ")),
      text("p", { class: "meta" }, clip.key),
      text("h2", {}, question.text),
      strip(clip),
      optionList(question),
      timeLine(question, [["gold", question.segments, "gold"], ...bars]),
      truth ? text("p", { class: "meta" }, `In the clip: ${truth}.`) : null,
      prompts(question, task, [...new Set(shown.map(([arm]) => index.arms[arm].style))]),
      el("h3", {}, "Answers"),
      ...shown.map(([arm, answer, byte]) => answerCard(index.arms[arm], answer, byte)),
    ], true);
  }

  function answerCard(arm, answer, byte) {
    const [sign, kind, words] = mark(byte);
    const value = answer.value === undefined ? "" : `, ${percent(answer.value)}`;
    const thought = has("truth_known")(byte) && has("thinks")(byte)
      ? el("span", { class: has("think_true")(byte) ? "right" : "wrong" }, has("think_true")(byte) ? " · thought true" : " · thought not true") : null;
    const view = arm.view === "ordered" ? "" : `, shown ${arm.view.replaceAll("_", " ")}`;
    return el("section", { class: "answer", "data-arm": arm.name },
      el("p", {}, text("strong", {}, arm.label), el("span", { class: "dim" }, ` (${arm.style}${view}) `),
        el("span", { class: `verdict ${kind}` }, `${sign} ${answer.status ? `not asked: ${answer.status}` : words}${value}`), thought),
      answer.status ? null : text("p", { class: "meta" }, `${readAs(answer)} · ${count(answer.tokens, "token")}`),
      ...writing(answer),
      ...asked(answer),
      answer.status ? null : pills(answer.parts));
  }

  // ---- View: groups of a training --------------------------------------------------------------------------------------

  let groups = [];           // of the chosen step, those that pass the filter

  /** The kept steps of the chosen training, ascending. */
  function keptSteps() {
    const arms = trained();
    const arm = arms.includes(armAt(state.arm)) ? armAt(state.arm) : arms[0];
    return index.groups.filter((entry) => entry.arm === arm && entry.seed === seed()).sort((one, other) => one.step - other.step);
  }

  function chosenStep(steps) {
    const at = steps.findIndex((entry) => String(entry.step) === state.step);
    return at < 0 ? 0 : at;
  }

  function groupRow(place) {
    const { group } = groups[place];
    const rewards = group.rollouts.map((one) => one.reward).filter((reward) => reward !== null);
    const range = group.equal ? `all ${number(rewards[0])}` : `${number(Math.min(...rewards))} to ${number(Math.max(...rewards))}`;
    const marks = group.rollouts.filter((one) => one.reward !== null)
      .map((one) => el("span", { class: one.right ? "right" : "wrong" }, one.right ? "✓" : "✗"));
    return [thumb(group.clip), el("div", {}, text("span", { class: "text" }, group.question.text.slice(0, 300)),
      el("span", { class: "about" }, el("span", { class: "where" }, `reward ${range} · ${group.question.id}`), el("span", { class: "marks" }, ...marks)))];
  }

  async function showGroups() {
    const mine = ++turn;
    const steps = keptSteps();
    if (!steps.length) {
      groups = [];
      setList(0, groupRow);
      say("No rollouts were kept for this seed: methods.grpo.runtime.keep_rollouts says how often they are.");
      detail([], false);
      document.documentElement.dataset.turn = String(mine);
      return;
    }
    const entry = steps[chosenStep(steps)];
    const content = await load(`groups_${entry.arm}_${entry.seed}_${padded(entry.step, 8)}`);
    if (mine !== turn) return;
    groups = content.map((group, number) => ({ group, number }))
      .filter(({ group }) => state.spread === "" || (state.spread === "equal") === group.equal);
    const chosen = groups.findIndex(({ number }) => String(number) === state.at);
    list.selected = chosen;
    setList(groups.length, groupRow);
    select(chosen);
    const all = steps.flatMap((step) => step.equal);
    const equal = (flags) => flags.reduce((sum, flag) => sum + flag, 0);
    say(`${index.arms[entry.arm].label}, step ${entry.step}: ${count(content.length, "group")}, ${equal(entry.equal)} without variance · ` +
      `all ${count(steps.length, "kept step")}: ${equal(all)} of ${count(all.length, "group")} without variance`);
    if (chosen >= 0) showGroup(groups[chosen].group);
    else detail([el("p", { class: "dim" }, groups.length ? "Choose a group, or press j." : "No group of this step passes the filter.")], false);
    document.documentElement.dataset.turn = String(mine);
  }

  function showGroup(group) {
    const { question } = group;
    const head = ["", "rollout", "verdict", "reward", "advantage", ...group.terms.map((name) => name.replaceAll("_", " ")), "tokens"];
    const cells = (one, at) => [String(at + 1), String(one.index), one.right ? "✓" : "✗", number(one.reward), number(one.advantage),
      ...group.terms.map((name) => number(one.terms[name])), String(one.tokens)];
    const learned = group.rollouts.filter((one) => one.reward !== null);
    const others = group.rollouts.filter((one) => one.reward === null);
    const bars = learned.filter((one) => one.span).map((one) => [`rollout ${one.index}`, [one.span], one.right ? "right" : "wrong"]);
    const card = (one) => el("section", { class: "answer" },
      el("p", {}, el("strong", {}, `Rollout ${one.index}`), el("span", { class: "dim" }, one.view === "ordered" ? "" : ` (${one.view})`),
        el("span", { class: `verdict ${one.right ? "right" : "wrong"}` }, ` ${one.right ? "✓ right" : "✗ wrong"}${one.finished ? "" : ", cut off"}`)),
      text("p", { class: "meta" }, [
        one.read === null && !one.unread.length ? "" : readAs(one),    // some rewards compare texts and read nothing
        one.reward === null ? "" : `reward ${number(one.reward)}, advantage ${number(one.advantage)}`,
      ].filter(Boolean).join(" · ")),
      ...writing(one));
    detail([
      text("p", { class: "meta" }, [group.dataset, group.task, question.id].join(" · ")),
      text("p", { class: "meta" }, group.clip.key),
      text("h2", {}, question.text),
      strip(group.clip),
      optionList(question),
      timeLine(question, [["gold", question.segments, "gold"], ...bars]),
      el("h3", {}, group.equal ? "Rollouts: no variance, nothing to learn from" : "Rollouts by advantage"),
      el("div", { class: "wide" }, el("table", {}, el("thead", {}, el("tr", {}, ...head.map((name) => el("th", { scope: "col" }, name)))),
        el("tbody", {}, ...learned.map((one, at) => el("tr", {}, ...cells(one, at).map((cell) => el("td", {}, cell))))))),
      ...learned.map(card),
      others.length ? el("h3", {}, "Compared with, and not learned from") : null,
      ...others.map(card),
    ], true);
  }

  // ---- Page ------------------------------------------------------------------------------------------------------------

  function detail(children, open) {
    const back = el("button", { type: "button", id: "back" }, "← list");
    back.addEventListener("click", () => change({ at: "" }));
    byId("detail").replaceChildren(...(open ? [back] : []), ...children.filter(Boolean));
    if (open) byId("detail").scrollTop = 0;
    document.body.classList.toggle("open", open);
  }

  function say(words) {
    byId("status").classList.remove("error");
    byId("status").replaceChildren(text("span", {}, complaint + words));
  }

  function fail(error) {
    byId("status").classList.add("error");
    byId("status").replaceChildren(text("span", {}, error.message));
  }

  function apply() {
    drawFilters();
    for (const tab of byId("views").children) tab.setAttribute("aria-selected", String(tab.dataset.view === state.view));
    (state.view === "groups" ? showGroups() : showAnswers()).catch(fail);
  }

  function choice(key, title, options, attributes = {}) {
    const box = el("select", { name: key, ...attributes }, ...options.map(([value, words]) => el("option", { value, dir: "auto" }, words)));
    box.value = state[key];
    if (box.selectedIndex < 0) box.selectedIndex = 0;
    return el("label", {}, title, box);
  }

  let drawn = "";

  /** The filters of the view, made again when the view or what can be chosen changes, so that the focus stays. */
  function drawFilters() {
    const form = byId("filters");
    const key = [state.view, state.view === "answers" ? state.benchmark : `${state.arm} ${seed()}`].join(" ");
    if (drawn !== key) {
      const focused = form.contains(document.activeElement) ? document.activeElement.name : "";
      form.replaceChildren(...(state.view === "groups" ? groupFilters() : answerFilters()));
      drawn = key;
      if (focused) form.elements[focused]?.focus();
    }
    for (const box of form.elements) {
      if (box.type === "checkbox") box.checked = shownArms().includes(armAt(box.value));
      else if (box.name === "place") {
        const steps = keptSteps();
        box.value = String(chosenStep(steps));
        box.nextSibling.textContent = steps.length ? ` step ${steps[chosenStep(steps)].step} (${chosenStep(steps) + 1} of ${steps.length})` : " none";
      } else if (box.name && box !== document.activeElement && box.name in state) {
        box.value = state[box.name];
        if (box.tagName === "SELECT" && box.selectedIndex < 0) box.selectedIndex = 0;
      }
    }
  }

  const seedChoice = () => (index.seeds.length > 1 ? [choice("seed", "seed", index.seeds.map((one) => [String(one), String(one)]))] : []);

  function answerFilters() {
    const benchmark = index.benchmarks.findIndex((one) => one.name === state.benchmark);
    const here = new Set();
    for (let at = 0; at < index.ids.length; at += 1) {
      if (benchmark < 0 || index.columns.benchmark[at] === benchmark) here.add(index.columns.category[at]);
    }
    const categories = [...here].map((at) => index.categories[at]).filter(Boolean).sort();
    const arms = index.arms.map((arm) => [arm.name, arm.label]);
    const boxes = index.arms.map((arm) => el("label", {}, el("input", { type: "checkbox", name: "arms", value: arm.name }), text("span", {}, arm.label)));
    return [
      el("label", { class: "search" }, "search", el("input", { type: "search", name: "q", value: state.q, maxlength: 300, spellcheck: "false" })),
      choice("benchmark", "benchmark", [["", "all"], ...index.benchmarks.map((one) => [one.name, one.title])]),
      ...(categories.length ? [choice("category", "category", [["", "all"], ...categories.map((name) => [name, name])])] : []),
      ...(index.tasks.length > 1 ? [choice("task", "task", [["", "all"], ...index.tasks.map((name) => [name, name.replaceAll("_", " ")])])] : []),
      choice("arm", "arm", [["", "any"], ...arms]),
      choice("outcome", "outcome", [["", "any"], ...Object.entries(OUTCOMES).map(([name, { title }]) => [name, title])]),
      ...seedChoice(),
      el("fieldset", { "aria-label": "arms that are shown and compared" }, ...boxes),
    ];
  }

  function groupFilters() {
    const steps = keptSteps();
    return [
      choice("arm", "arm", trained().map((at) => [index.arms[at].name, index.arms[at].label])),
      ...seedChoice(),
      choice("spread", "groups", [["", "all"], ["equal", "without variance"], ["varied", "with variance"]]),
      el("label", {}, "kept steps", el("input", { type: "range", name: "place", min: 0, max: Math.max(0, steps.length - 1), step: 1, value: 0 }), el("span", {})),
    ];
  }

  function onFilter(event) {
    const box = event.target;
    if (box.name === "arms") {
      const ticked = [...byId("filters").querySelectorAll("input[name=arms]:checked")].map((one) => one.value);
      change({ arms: ticked.join(",") });
    } else if (box.name === "place") change({ step: String(keptSteps()[Number(box.value)]?.step ?? ""), at: "" });
    else if (box.name === "benchmark") change({ benchmark: box.value, category: "" });
    else if (state.view === "groups" && box.name === "arm") change({ arm: box.value, step: "", at: "" });
    else if (box.name) change({ [box.name]: box.value });
  }

  /** Select the row that is some rows further down. */
  function step(by) {
    if (!list.length) return;
    const at = list.selected < 0 ? 0 : Math.min(list.length - 1, Math.max(0, list.selected + by));
    change({ at: state.view === "groups" ? String(groups[at].number) : keyOf(passed[at]) });
  }

  function trainingStep(by) {
    const steps = keptSteps();
    const at = Math.min(steps.length - 1, Math.max(0, chosenStep(steps) + by));
    if (state.view === "groups" && steps.length) change({ step: String(steps[at].step), at: "" });
  }

  function onKey(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || byId("help").open) return;
    const typing = event.target instanceof HTMLInputElement || event.target instanceof HTMLSelectElement;
    if (event.key === "Escape") {
      if (typing) event.target.blur();
      else if (state.at !== "") change({ at: "" });
      return;
    }
    if (typing && !["checkbox", "range"].includes(event.target.type)) return;
    const onList = event.target === byId("list");
    const action = {
      ...(onList ? { ArrowDown: () => step(1), ArrowUp: () => step(-1) } : {}),
      j: () => step(1), k: () => step(-1), "[": () => trainingStep(-1), "]": () => trainingStep(1),
      "?": () => byId("help").showModal(), "/": () => byId("filters").elements.q?.focus(),
    }[event.key];
    if (action) {
      event.preventDefault();
      action();
    }
  }

  function onRow(event) {
    const row = event.target.closest(".row");
    const at = row ? Number(row.id.slice(4)) : -1;
    if (at >= 0 && at < list.length) change({ at: state.view === "groups" ? String(groups[at].number) : keyOf(passed[at]) });
  }

  function start(content) {
    index = content;
    index.columns = { benchmark: unpacked(content.columns.benchmark, Uint8Array), task: unpacked(content.columns.task, Uint8Array),
      category: unpacked(content.columns.category, Uint16Array) };
    state = readAddress();
    if (!index.groups.length) byId("views").querySelector("[data-view=groups]").disabled = true;
    let drawing = 0;
    byId("list").addEventListener("scroll", () => {
      cancelAnimationFrame(drawing);
      drawing = requestAnimationFrame(drawList);
    });
    byId("list").addEventListener("click", onRow);
    byId("filters").addEventListener("input", onFilter);
    byId("filters").addEventListener("submit", (event) => event.preventDefault());
    byId("views").addEventListener("click", (event) => {
      const tab = event.target.closest("button");
      if (tab) change({ view: tab.dataset.view, at: "" });
    });
    byId("help-button").addEventListener("click", () => byId("help").showModal());
    document.addEventListener("keydown", onKey);
    window.addEventListener("resize", drawList);
    window.addEventListener("hashchange", () => {
      clearTimeout(addressTimer);
      state = readAddress();
      apply();
    });
    apply();
  }

  document.addEventListener("DOMContentLoaded", () => {
    if (!index) fail(new Error("data/index.js is missing or damaged: copy the whole folder, or make the report again"));
  });

  return { add, stats };
})();
