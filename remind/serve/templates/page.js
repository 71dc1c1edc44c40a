"use strict";
(() => {
  const form = document.getElementById("patient");
  const answer = document.getElementById("answer");
  const sent = document.querySelector("#sent code");
  const WORDS = { sure: "Within its depth", unsure: "Unsure", out_of_depth: "Out of its depth" };

  function number(text, where) {
    const value = Number(text.trim().replace(/^\+/, ""));
    if (text.trim() === "" || !Number.isFinite(value)) throw new Error(`${where}: "${text.trim()}" is no number`);
    return value;
  }

  function lines(box) {
    return box.value.split("\n").map((line) => line.trim()).filter((line) => line !== "");
  }

  function tabular(field) {
    const value = {};
    for (const box of field.querySelectorAll("[data-column]")) {
      const text = box.value.trim();
      if (text === "") continue;
      value[box.dataset.column] = box.dataset.number ? number(text, box.dataset.column) : text;
    }
    return Object.keys(value).length ? value : null;
  }

  function vector(field) {
    const parts = field.querySelector("textarea").value.split(/[\s,;[\]]+/).filter((part) => part !== "");
    return parts.length ? parts.map((part) => number(part, field.dataset.name)) : null;
  }

  function series(field) {
    const items = lines(field.querySelector("textarea")).map((line) => {
      const [time, variable, ...rest] = line.split(",").map((part) => part.trim());
      if (!rest.length) throw new Error(`${field.dataset.name}: "${line}" is not hours, variable, value`);
      const text = rest.join(",");
      const value = text !== "" && Number.isFinite(Number(text)) ? Number(text) : text;
      return { time: number(time, field.dataset.name), variable, value };
    });
    return items.length ? items : null;
  }

  function codes(field) {
    const { times, versions } = field.dataset;
    const items = lines(field.querySelector("textarea")).map((line) => {
      if (!times && !versions) return line;
      const parts = line.split(",").map((part) => part.trim());
      const item = { code: parts.shift() };
      if (times) item.time = number(parts.shift() ?? "", field.dataset.name);
      if (versions) item.version = parts.shift() ?? "";
      return item;
    });
    return items.length ? items : null;
  }

  function hours(field) {
    const box = field.querySelector("[data-time]");
    return box ? { time: number(box.value, `${field.dataset.name}, hours`) } : {};
  }

  function text(field) {
    const note = field.querySelector("textarea").value.trim();
    if (note === "") return null;
    return field.dataset.times ? [{ text: note, ...hours(field) }] : note;
  }

  function content(file) {
    return new Promise((resolve, reject) => {
      const reader = new FileReader();
      reader.onload = () => resolve({ name: file.name, content: reader.result.replace(/^[^,]*,?/, "") });
      reader.onerror = () => reject(new Error(`${file.name} cannot be read`));
      reader.readAsDataURL(file);
    });
  }

  async function files(field) {
    const chosen = await Promise.all([...field.querySelector("input[type=file]").files].map(content));
    if (!chosen.length) return null;
    const stem = (file) => file.name.replace(/\.[^.]*$/, "");
    const kind = field.dataset.kind;
    let mains = chosen;
    if (kind === "signal") mains = chosen.filter((file) => /\.(hea|npy)$/i.test(file.name));
    if (kind === "volume" && !chosen.some((file) => /\.(nii|nii\.gz|npy)$/i.test(file.name))) mains = chosen.slice(0, 1);
    if (!mains.length) throw new Error(`${field.dataset.name}: choose the .hea or .npy file too`);
    const others = chosen.filter((file) => !mains.includes(file));
    return mains.map((main) => {
      const beside = kind === "volume" ? others : others.filter((file) => stem(file) === stem(main));
      return { ...main, ...(beside.length ? { beside } : {}), ...hours(field) };
    });
  }

  const READ = { tabular, vector, series, codes, text, image: files, volume: files, signal: files };

  async function request() {
    const modalities = {};
    for (const field of form.querySelectorAll("fieldset")) {
      const value = await READ[field.dataset.kind](field);
      field.toggleAttribute("data-filled", value !== null);
      if (value !== null) modalities[field.dataset.name] = value;
    }
    return { patients: [{ id: "one", modalities }] };
  }

  function element(tag, text, className) {
    const made = document.createElement(tag);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  }

  function points(texts) {
    const list = element("ul", undefined, "sentences");
    list.append(...texts.map((text) => element("li", text)));
    return list;
  }

  function chances(probabilities) {
    const list = element("dl", undefined, "chances");
    for (const [name, chance] of Object.entries(probabilities)) {
      const row = element("div"), bar = element("div", undefined, "bar"), part = element("span");
      part.style.width = `${100 * chance}%`;
      bar.append(part);
      bar.setAttribute("aria-hidden", "true");
      row.append(element("dt", `${form.dataset.label} = ${name}`), bar, element("dd", `${(100 * chance).toFixed(1)}%`));
      list.append(row);
    }
    return list;
  }

  function show(found) {
    const told = found.predictions[0];
    const parts = [element("p", WORDS[told.verdict], `verdict ${told.verdict}`), chances(told.probabilities)];
    if (told.reasons.length) parts.push(points(told.reasons));
    if (found.notes.length) parts.push(points(found.notes));
    const others = told.n_train === 1 ? "1 training patient has" : `${told.n_train} training patients have`;
    parts.push(element("p", `${others} this combination (${told.band}).`, "note"));
    if (told.measured && told.measured.auroc.ci) {
      const { split, band, n, auroc } = told.measured;
      const [value, low, high] = [auroc.value, ...auroc.ci].map((figure) => figure.toFixed(3));
      parts.push(element("p", `Of such patients (${band}, ${n} of ${split}): AUROC ${value} (${low} to ${high}).`, "note"));
    }
    fill(parts);
  }

  function refuse(sentence) {
    fill([element("p", "No prediction", "verdict wrong"), element("p", sentence)]);
  }

  function fill(parts) {
    answer.replaceChildren(...parts);
    answer.scrollIntoView({ block: "nearest" });
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const button = form.querySelector("[type=submit]");
    button.disabled = true;
    try {
      const body = await request();
      sent.textContent = JSON.stringify(body, (key, value) => (key === "content" ? `${value.slice(0, 24)}…` : value), 1);
      const headers = { "content-type": "application/json" };
      const reply = await fetch("predict", { method: "POST", headers, body: JSON.stringify(body) });
      const found = await reply.json();
      if (reply.ok) show(found);
      else refuse(found.error ?? `the service answered with status ${reply.status}`);
    } catch (error) {
      refuse(error instanceof TypeError ? "the service does not answer" : error.message);
    } finally {
      button.disabled = false;
    }
  });

  form.addEventListener("reset", () => {
    for (const field of form.querySelectorAll("fieldset")) field.removeAttribute("data-filled");
    answer.replaceChildren(element("p", "None yet.", "note"));
  });
})();
