// What htmx does not do: copying a command, the keyboard's way to the field, and the flow's length.
(() => {
  "use strict";
  const MOST_ROWS = 40;
  document.addEventListener("click", (event) => {
    const button = event.target.closest("button[data-copy]");
    if (!button) return;
    const text = button.parentElement.querySelector("code").textContent;
    navigator.clipboard.writeText(text).then(() => {
      button.textContent = "copied";
      setTimeout(() => { button.textContent = "copy"; }, 1500);
    }, () => {});
  });
  document.addEventListener("keydown", (event) => {
    const typing = event.target.closest("input, textarea, select, [contenteditable]");
    if (event.key !== "/" || typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const field = document.getElementById("find");
    if (field) { event.preventDefault(); field.focus(); field.select(); }
  });
  document.addEventListener("change", (event) => {
    if (event.target.matches("select[data-submits]")) event.target.form.requestSubmit();
  });
  const flow = document.getElementById("flow");
  if (flow) {
    new MutationObserver(() => {
      while (flow.children.length > MOST_ROWS) flow.lastElementChild.remove();
    }).observe(flow, { childList: true });
  }
})();
