// What two groups write to the same prompts; of each group the run of the lowest seed.
function answers() {
  const found = data.answers.groups;
  const groups = data.groups.filter((group) => found[group.id]);
  const box = document.getElementById("answers-body");
  const choice = document.getElementById("answers-choice");
  const lead = document.getElementById("answers-lead");
  box.replaceChildren();
  choice.replaceChildren();
  if (!groups.length) {
    lead.textContent = "No finished run has left its answers.";
    return;
  }
  lead.textContent = `${data.answers.prompts.length} of ${data.answers.of} prompts, taken at even ` +
    "distances; grey: before training (the start model), below it: after. Of each group the run of the " +
    "lowest seed.";
  const ids = groups.map((group) => group.id);
  if (!ids.includes(state.left)) state.left = ids[0];
  if (!ids.includes(state.right)) {
    const left = groups.find((group) => group.id === state.left);
    state.right = (groups.find((group) => group.colour !== left.colour) || left).id;
  }
  const options = groups.map((group) => [group.id, sections().length > 1
    ? `${group.scenario} · ${group.label} · ${group.section}` : `${group.scenario} · ${group.label}`]);
  const choose = (key) => (value) => { state[key] = value; save(); showAnswers(box); };
  choice.append(element("div", { class: "choice" },
    select("Left", options, state.left, choose("left")),
    select("Right", options, state.right, choose("right"))));
  showAnswers(box);
}

function showAnswers(box) {
  box.replaceChildren();
  for (const [id, text] of data.answers.prompts) {
    const sides = element("div", { class: "sides" });
    for (const side of [state.left, state.right]) sides.append(answer(side, id));
    box.append(element("article", { class: "prompt" }, element("p", { class: "text" }, text), sides));
  }
}

function answer(side, id) {
  const group = data.groups.find((one) => one.id === side);
  const found = data.answers.groups[side][id];
  if (!found) return element("div", {}, element("p", { class: "nothing" }, "Not asked in this run."));
  const [before, after, rewardBefore, rewardAfter] = found;
  const reward = (value) => (value === null ? "" : `reward ${number(value, 3)}`);
  return element("div", {},
    element("p", { class: "who" }, "before", element("span", {}, reward(rewardBefore))),
    element("p", { class: "text before" }, data.answers.texts[before] || "(nothing)"),
    element("p", { class: "who" }, group.label, element("span", {}, reward(rewardAfter))),
    element("p", { class: "text" }, data.answers.texts[after] || "(nothing)"));
}
