"""The `qwen2_base` chat template: texts, token ids with the image token, and labels."""

from collections.abc import Sequence

import torch
from transformers import PreTrainedTokenizerBase

from vidreason.models.base import IGNORE_INDEX, LabelledIds, Message
from vidreason.models.tinyllava.configuration import IMAGE_TOKEN_INDEX
from vidreason.tasks.chat_tokens import ASSISTANT, END, IMAGE, SEPARATOR, USER

SYSTEM = (
    "A chat between a curious user and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the user's questions. "
)


def prompt_text(query: str) -> str:
    r"""The whole text of one user's turn, up to where the answer begins.

    Example:
        >>> prompt_text("<image>Who?")[len(SYSTEM):]
        'USER: <image>\nWho? ASSISTANT:'
    """
    return conversation_text([{"from": "human", "value": query}, {"from": "gpt", "value": None}])


def conversation_text(conversation: Sequence[Message]) -> str:
    """Fill the template.

    In a question with video marks, one mark is moved to the front, the others are dropped, and the text is stripped. Questions
    without a mark are not changed.

    Args:
        conversation: Questions and answers in turn. A first message that is not from `human` is skipped.

    Raises:
        ValueError: A question has no answer.

    Source: tinyllava/data/template/{base,formatter,qwen2_base_template}.py@efe76a1.
    Differs from the source: none.
    """
    turns = list(conversation)
    if turns and turns[0]["from"] != "human":
        turns = turns[1:]
    if len(turns) % 2:
        raise ValueError(
            f"a conversation of {len(turns)} turns has a question without an answer: {turns[-1]['value']!r}"
        )
    text = SYSTEM if turns else ""
    for question, answer in zip(turns[::2], turns[1::2], strict=True):
        message = question["value"]
        if not isinstance(message, str):
            raise ValueError(f"a question is {message!r}; expected a text")
        if IMAGE in message:
            message = f"{IMAGE}\n{message.replace(IMAGE, '').strip()}".strip()
        text += f"{USER}{message} {ASSISTANT}"
        if answer["value"] is not None:
            text += f" {answer['value']}{END}"
    return text


def text_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of a text, with `IMAGE_TOKEN_INDEX` for the video mark; the parts around the mark are tokenized separately."""
    ids: list[int] = []
    for number, part in enumerate(text.split(IMAGE)):
        own = list(tokenizer(part).input_ids)
        if number:
            ids.append(IMAGE_TOKEN_INDEX)
            if own and own[0] == tokenizer.bos_token_id:
                own = own[1:]
        ids += own
    return ids


def prompt_ids(tokenizer: PreTrainedTokenizerBase, query: str) -> torch.Tensor:
    """Prompt ids [T] int64 of one user's turn."""
    return torch.tensor(text_ids(tokenizer, prompt_text(query)), dtype=torch.long)


def labelled_ids(tokenizer: PreTrainedTokenizerBase, conversation: Sequence[Message]) -> LabelledIds:
    """Ids and labels of a conversation to imitate.

    Labels equal the ids on the answers and are `IGNORE_INDEX` elsewhere. The last token of " ASSISTANT: " counts as part of the
    answer: with the real tokenizer its space is joined to the answer's first word.

    Args:
        tokenizer: The checkpoint's.
        conversation: Every question has its answer.

    Returns:
        Ids [T] and labels [T], int64. All labels are `IGNORE_INDEX` if a text contains the end token or " ASSISTANT: " itself
        (see `LabelledIds.unmaskable`). Such an example adds nothing to the loss and must be counted.

    Source: Template.make_labels in tinyllava/data/template/base.py of ZhangXJ199/TinyLLaVA-Video-R1@efe76a1.
    Differs from the source: no pause of five seconds at an example that cannot be masked.
    """
    text = conversation_text(conversation)
    ids = torch.tensor(text_ids(tokenizer, text), dtype=torch.long)
    labels = torch.full_like(ids, IGNORE_INDEX)
    start = 0
    for turn in text.split(END):
        pieces = turn.split(SEPARATOR)
        if turn == "" or len(pieces) != 2:
            break
        end = start + len(text_ids(tokenizer, turn)) + len(tokenizer(END).input_ids)
        answer = start + len(text_ids(tokenizer, pieces[0] + SEPARATOR)) - 1
        labels[answer:end] = ids[answer:end]
        start = end
    if start != len(ids) and start < tokenizer.model_max_length:
        labels[:] = IGNORE_INDEX
    return LabelledIds(ids, labels)
