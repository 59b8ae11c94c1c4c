// Says that a form is being sent, because to open a camera takes some seconds.
"use strict";
for (const form of document.querySelectorAll("form[data-wait]")) {
  form.addEventListener("submit", () => {
    const button = form.querySelector("button");
    button.textContent = form.dataset.wait;
    button.setAttribute("aria-disabled", "true");
    form.addEventListener("submit", (event) => event.preventDefault());
  });
}
document.querySelector("[data-error]")?.focus();
