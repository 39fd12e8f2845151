// SPDX-License-Identifier: Apache-2.0

// Sliders for the weights of a shift. A change of one weight is taken from, or given to, the others in proportion, so that they sum to
// 100. Without JavaScript, the number fields remain.
"use strict";

function balanced(values, changed) {
  const rest = 100 - values[changed];
  const others = values.map((_, i) => i).filter((i) => i !== changed);
  const sum = others.reduce((total, i) => total + values[i], 0);
  const exact = others.map((i) => (sum > 0 ? (values[i] * rest) / sum : rest / others.length));
  const shares = exact.map(Math.floor);
  let missing = rest - shares.reduce((total, share) => total + share, 0);
  const byRemainder = exact.map((_, at) => at).sort((a, b) => exact[b] - shares[b] - (exact[a] - shares[a]) || a - b);
  for (const at of byRemainder) {
    if (missing <= 0) break;
    shares[at]++;
    missing--;
  }
  const out = values.slice();
  others.forEach((i, at) => { out[i] = shares[at]; });
  return out;
}

for (const group of document.querySelectorAll("[data-weights]")) {
  const numbers = [...group.querySelectorAll("input[name=weight]")];
  const named = numbers.filter((field) => field.min !== "" && field.closest(".weight").querySelector("input[name=version][type=hidden]"));
  if (named.length < 2) continue;
  const sliders = named.map((field) => {
    const slider = document.createElement("input");
    slider.type = "range";
    slider.min = 0;
    slider.max = 100;
    slider.value = field.value;
    slider.setAttribute("aria-label", field.labels[0].textContent.trim());
    field.after(slider);
    return slider;
  });
  const sum = document.createElement("output");
  sum.className = "sum";
  group.append(sum);
  const showSum = () => {
    const total = numbers.reduce((all, field) => all + (parseInt(field.value, 10) || 0), 0);
    sum.textContent = total === 100 ? "Sum: 100" : `Sum: ${total}, expected 100`;
  };
  const follow = () => { named.forEach((field, i) => { sliders[i].value = field.value || 0; }); showSum(); };
  sliders.forEach((slider, changed) => {
    slider.addEventListener("input", () => {
      const values = named.map((field) => parseInt(field.value, 10) || 0);
      values[changed] = parseInt(slider.value, 10);
      balanced(values, changed).forEach((value, i) => { named[i].value = value; });
      for (const field of numbers) if (!named.includes(field)) field.value = "";
      follow();
    });
  });
  for (const field of numbers) field.addEventListener("input", follow);
  follow();
}
