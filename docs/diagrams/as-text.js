// Used instead of mermaid where node is not installed: shows the text of each diagram.
window.mermaid = {
  initialize() {},
  async render(id, text) {
    const block = document.createElement("pre");
    block.textContent = text;
    return { svg: block.outerHTML };
  },
};
