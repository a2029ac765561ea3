const el = (id) => document.getElementById(id);
const svg = (name, attributes, text) => {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const key in attributes) node.setAttribute(key, attributes[key]);
  if (text !== undefined) node.textContent = text;
  return node;
};
const add = (parent, name, text, kind) => {
  const node = document.createElement(name);
  if (text !== undefined && text !== null) node.textContent = text;
  if (kind) node.className = kind;
  parent.appendChild(node);
  return node;
};
const tile = (value, text) => {
  const node = add(el("tiles"), "div", undefined, "tile");
  add(node, "b", value);
  add(node, "span", text);
};
function promises(all) {
  for (const promise of all) {
    const row = add(el("promises"), "tr");
    add(row, "td", promise.name);
    add(row, "td", promise.found);
    const [word, kind] = promise.met === true ? ["met", "met"] : promise.met === false ? ["not met", "broken"] : ["inconclusive", "maybe"];
    add(add(row, "td"), "span", word, kind);
  }
}
