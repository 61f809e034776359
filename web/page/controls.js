// Repeats the program's controls as HTML elements over the canvas, for screen readers and keyboards: the canvas itself is one picture
// to them. The elements are transparent and let the pointer through.

// The program's list is read this often; it is told only when it has changed.
const EVERY_MS = 250;
// A number that a person has entered stays as it is for so long, while the program takes it over.
const ANSWER_MS = 1000;

const TAGS = { button: "button", menu: "button", heading: "h2", image: "div", text: "p" };

const set = (element, name, value) => {
  if (value === null || value === undefined) element.removeAttribute(name);
  else if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
};

class Item {
  constructor(program, { id, kind }) {
    this.kind = kind;
    // Until when the number is the person's, and not the program's.
    this.mine = 0;
    const element = document.createElement(TAGS[kind] ?? "input");
    this.element = element;
    if (element.tagName === "INPUT") element.type = kind;
    if (element.tagName === "BUTTON") element.type = "button";
    if (kind === "image") element.setAttribute("role", "img");
    if (kind === "menu") {
      element.setAttribute("role", "combobox");
      // Its entries are buttons after it.
      element.setAttribute("aria-haspopup", "true");
    }
    const node = BigInt(id);
    if (kind === "range" || kind === "number") {
      const mine = (until) => () => { this.mine = until + performance.now(); };
      element.addEventListener("input", mine(Infinity));
      for (const event of ["change", "blur"]) element.addEventListener(event, mine(ANSWER_MS));
      // One step is the last digit that is shown: egui's own step is that of a pixel, which a whole number does not notice.
      if (kind === "number") element.addEventListener("keydown", (event) => {
        const steps = { ArrowUp: 1, ArrowDown: -1 }[event.key];
        if (!steps) return;
        event.preventDefault();
        element.value = (Number(element.value) + steps * 10 ** -this.digits).toFixed(this.digits);
        this.mine = performance.now() + ANSWER_MS;
        program.set(node, Number(element.value));
      });
      // A slider follows at once, but a number is whole only when it has been entered.
      element.addEventListener(kind === "range" ? "input" : "change", () => {
        if (element.value !== "") program.set(node, Number(element.value));
      });
    } else {
      element.addEventListener("click", (event) => {
        // The program decides what is checked.
        if (element.tagName === "INPUT") event.preventDefault();
        program.click(node);
      });
    }
    element.addEventListener("focus", () => program.reveal(node));
  }

  update(item, area) {
    const { element, kind } = this;
    const { name, text, number, min, max, step, on, open, off, about, at } = item;
    if (kind === "text" || kind === "heading") {
      if (element.textContent !== name) element.textContent = name;
    } else {
      set(element, "aria-label", name);
    }
    set(element, "aria-description", about);
    set(element, "aria-expanded", open);
    if (kind === "menu" && element.textContent !== text) element.textContent = text;
    if (kind === "button") set(element, "aria-pressed", on);
    if (kind === "checkbox" || kind === "radio") element.checked = on === true;
    if (kind === "range" || kind === "number") {
      set(element, "min", min);
      set(element, "max", max);
      // A number that is no multiple of the step would be called invalid.
      set(element, "step", kind === "range" ? step ?? "any" : "any");
      // With its unit.
      set(element, "aria-valuetext", text);
      this.digits = /\.(\d+)/.exec(text ?? "")?.[1].length ?? 0;
      // Without the digits that a 32-bit number does not have.
      const value = String(this.digits === 0 ? number : Number(number.toPrecision(7)));
      if (performance.now() > this.mine && element.value !== value) {
        element.value = value;
        // What is typed still replaces the number.
        if (kind === "number" && document.activeElement === element) element.select();
      }
    }
    if ("disabled" in element) element.disabled = off;
    // What is scrolled out of view keeps a place at the edge.
    const [x, y, width, height] = at;
    const inside = (from, size, most) => Math.max(0, Math.min(from, most - size));
    const place = `left:${inside(x, width, area.width)}px;top:${inside(y, height, area.height)}px;width:${width}px;height:${height}px`;
    set(element, "style", place);
  }
}

// Starts the list in `box`, with messages in `news`; returns what ends it.
export function mirror(program, canvas, box, news) {
  const items = new Map();
  // The menu that had the focus last: it gets the focus when its entries disappear.
  let opener = null;

  const update = () => {
    const text = program.list();
    if (!text) return;
    const { list, news: messages } = JSON.parse(text);
    const area = canvas.getBoundingClientRect();
    const focused = document.activeElement;
    const listed = new Map(list.map((item) => [item.id, item]));
    for (const [id, item] of items) {
      if (listed.get(id)?.kind !== item.kind) {
        item.element.remove();
        items.delete(id);
      }
    }
    let next = box.firstChild;
    for (const item of list) {
      if (!items.has(item.id)) items.set(item.id, new Item(program, item));
      const known = items.get(item.id);
      known.update(item, area);
      if (known.element === next) next = next.nextSibling;
      // An element that stays is not moved unless the order changed: a move takes the focus away.
      else box.insertBefore(known.element, next);
      if (known.element === focused && item.kind === "menu") opener = known.element;
    }
    if (document.activeElement !== focused) (focused.isConnected ? focused : opener)?.focus();
    const said = messages.join("\n");
    if (news.textContent !== said) news.textContent = said;
  };

  const keys = (event) => {
    if (event.key === "Escape") program.close();
  };
  box.addEventListener("keydown", keys);
  program.listing(true);
  const timer = setInterval(update, EVERY_MS);
  return () => {
    clearInterval(timer);
    box.removeEventListener("keydown", keys);
    program.listing(false);
    box.replaceChildren();
    news.textContent = "";
  };
}
